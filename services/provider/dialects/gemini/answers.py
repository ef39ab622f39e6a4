"""A GenerateContentResponse, whole or one of a stream."""

import hashlib
import json
from typing import Any

from services.provider.assembling import assemble
from services.provider.chat import Answer, Delta, Finish, Foreign, ToolCallDelta, Usage
from services.provider.dialects.base import malformed, objects, whole
from services.provider.dialects.gemini.requests import NAME
from services.provider.failure import CallFailedError, Failure, FailureKind

_FINISHES = {"STOP": Finish.STOP, "MAX_TOKENS": Finish.LENGTH, "FUNCTION_CALL": Finish.TOOL_CALLS}
_REFUSED = {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"}
_FAULTS = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"}


def read(response: dict[str, Any]) -> Answer:
    """A whole answer; CallFailedError when it is none."""
    pieces = Pieces()
    deltas = pieces.deltas(response)
    if not pieces.finished:
        raise malformed("the answer has no candidate that is finished")
    return assemble(deltas)


def usage_of(told: Any) -> Usage | None:
    """The usage: what was read from the cache is part of the prompt; thoughts stand beside the candidates, so they are added."""
    if not isinstance(told, dict):
        return None
    prompt = whole(told.get("promptTokenCount")) + whole(told.get("toolUsePromptTokenCount"))
    thoughts = whole(told.get("thoughtsTokenCount"))
    cached = min(whole(told.get("cachedContentTokenCount")), prompt)
    output = whole(told.get("candidatesTokenCount")) + thoughts
    if not prompt and not output:
        return None
    cached_audio = min(_sound(told, "cacheTokensDetails"), cached)
    fresh = _sound(told, "promptTokensDetails") + _sound(told, "toolUsePromptTokensDetails") - cached_audio
    audio = min(max(fresh, 0), prompt - cached) + cached_audio
    return Usage(prompt, output, cached, 0, thoughts, audio_tokens=audio, cached_audio_tokens=cached_audio)


def _sound(told: dict[str, Any], name: str) -> int:
    """The tokens of sound among those of a list by kind."""
    kinds = told.get(name)
    found = [each for each in kinds if isinstance(each, dict)] if isinstance(kinds, list) else []
    return sum(whole(each.get("tokenCount")) for each in found if each.get("modality") == "AUDIO")


class Pieces:
    """Reads the responses of one answer, one after the other."""

    def __init__(self) -> None:
        self.finished = False
        self._calls = 0

    def deltas(self, response: dict[str, Any]) -> list[Delta]:
        """What a response adds; CallFailedError when the prompt was refused."""
        feedback = response.get("promptFeedback")
        candidates = response.get("candidates")
        if not candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
            detail = f"the provider's policy refuses the prompt ({feedback['blockReason']})"
            raise CallFailedError(Failure(FailureKind.CONTENT_POLICY, detail))
        model, answer_id = str(response.get("modelVersion") or ""), str(response.get("responseId") or "")
        deltas: list[Delta] = []
        candidate = candidates[0] if isinstance(candidates, list) and candidates else {}
        if not isinstance(candidate, dict):
            raise malformed("a candidate that is no object")
        content = candidate.get("content")
        for part in objects(content.get("parts") if isinstance(content, dict) else None):
            deltas += self._part(part, model, answer_id)
        finish = self._finish(candidate)
        usage = usage_of(response.get("usageMetadata"))
        if finish is not None or usage is not None:
            deltas.append(Delta(finish=finish, usage=usage, model=model))
        return deltas

    def _part(self, part: dict[str, Any], model: str, answer_id: str) -> list[Delta]:
        signature = str(part.get("thoughtSignature") or "")
        call = part.get("functionCall")
        if isinstance(call, dict):
            return [Delta(tool_call=self._call(call, signature, answer_id), model=model)]
        if isinstance(part.get("text"), str):
            words = part["text"]
            if part.get("thought"):
                return [Delta(reasoning=words, signature=signature, model=model)] if words or signature else []
            return [Delta(text=words, model=model)] if words else []
        return [Delta(part=Foreign(NAME, part), model=model)] if part.keys() - {"thoughtSignature", "thought"} else []

    def _call(self, call: dict[str, Any], signature: str, answer_id: str) -> ToolCallDelta:
        name, index = str(call.get("name") or ""), self._calls
        self._calls += 1
        arguments = json.dumps(call.get("args") or {}, separators=(",", ":"), ensure_ascii=False)
        # the dialect's ids are optional, and ours must not repeat over the turns of a conversation
        made = hashlib.sha256(f"{answer_id}\0{index}\0{name}\0{arguments}".encode()).hexdigest()[:24]
        return ToolCallDelta(index, str(call.get("id") or "") or f"call_{made}", name, arguments, signature)

    def _finish(self, candidate: dict[str, Any]) -> Finish | None:
        name = candidate.get("finishReason")
        if not isinstance(name, str) or not name or name == "FINISH_REASON_UNSPECIFIED":
            return None
        if name in _FAULTS:
            raise malformed(f"the model's call of a function cannot be read ({name})")
        self.finished = True
        if name in _REFUSED:
            return Finish.CONTENT_FILTER
        found = _FINISHES.get(name, Finish.STOP)
        return Finish.TOOL_CALLS if found is Finish.STOP and self._calls else found
