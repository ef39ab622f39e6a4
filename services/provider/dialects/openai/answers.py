"""A chat completion: read from a provider, written for a caller."""

import hashlib
from typing import Any

from services.provider.chat import Answer, Finish, Foreign, Part, Reasoning, Text, ToolCall
from services.provider.dialects.base import encode, malformed, objects
from services.provider.dialects.openai import usage
from services.provider.dialects.refusals import told_in_stream
from services.provider.failure import CallFailedError

FINISHES = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}
NAMES = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
}
# ends that are faults: OpenRouter and Mistral; DeepSeek when its machines are overloaded
_FAULTS = {"error", "insufficient_system_resource"}


def read(body: dict[str, Any]) -> Answer:
    """The first choice of a chat.completion; CallFailedError when it is none."""
    if body.get("error"):
        # OpenRouter answers 200 with an error inside
        raise in_body_failure(body["error"])
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise malformed("the answer has no choice with a message")
    told = usage.read(body.get("usage"))
    refused = message.get("refusal")
    parts = tuple(_parts(message, f"{body.get('id')} {body.get('created')}"))
    finish = Finish.CONTENT_FILTER if refused else finish_of(choice.get("finish_reason"))
    return Answer(parts, finish or Finish.STOP, told, str(body.get("model") or ""))


def in_body_failure(error: Any) -> CallFailedError:
    """The failure that stands where an answer should."""
    if not isinstance(error, dict):
        return CallFailedError(told_in_stream("", str(error)))
    code, status = error.get("code"), 0
    if isinstance(code, int) and code >= 400:  # noqa: PLR2004 - HTTP's own border
        status = code
    words = f"{error.get('type') or ''} {code or ''}".strip()
    return CallFailedError(told_in_stream(words, str(error.get("message") or ""), status))


def finish_of(name: Any) -> Finish | None:
    """Why the answer ended; None when it has not; CallFailedError when it ended by a fault."""
    if not name or not isinstance(name, str):
        return None
    if name in _FAULTS:
        raise CallFailedError(told_in_stream(name, f"the provider ended the answer with {name!r}"))
    return FINISHES.get(name, Finish.STOP)


def thought_of(message: dict[str, Any]) -> str:
    """Thoughts: `reasoning_content` of DeepSeek, xAI and vLLM, `reasoning` of OpenRouter and Groq."""
    for name in ("reasoning_content", "reasoning"):
        found = message.get(name)
        if found and isinstance(found, str):
            return found
    return ""


def words_of(content: Any) -> tuple[str, str]:
    """(thoughts, words) of a content that is text, or Mistral's list of chunks."""
    if isinstance(content, str):
        return "", content
    thoughts, words = [], []
    for chunk in content if isinstance(content, list) else ():
        if not isinstance(chunk, dict):
            continue
        if chunk.get("type") == "thinking":
            inner = chunk.get("thinking")
            thoughts.append(inner if isinstance(inner, str) else words_of(inner)[1])
        elif isinstance(chunk.get("text"), str):
            words.append(chunk["text"])
    return "".join(thoughts), "".join(words)


def arguments_of(function: dict[str, Any]) -> str:
    """The arguments of a call as JSON text; some give the object itself."""
    arguments = function.get("arguments") or ""
    return arguments if isinstance(arguments, str) else encode(arguments)


def signature_of(call: dict[str, Any]) -> str:
    """Gemini's thought signature, where Google's OpenAI-compatible door puts it."""
    google = (call.get("extra_content") or {}).get("google") if isinstance(call.get("extra_content"), dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) else ""


def made_id(answer: str, index: int, name: str, arguments: str) -> str:
    """An id for a call that came without one: its result has to name it, and no other turn of a conversation may have it."""
    return f"call_{hashlib.sha256(repr((answer, index, name, arguments)).encode()).hexdigest()[:24]}"


def _parts(message: dict[str, Any], answer: str) -> list[Part]:
    thoughts, words = words_of(message.get("content"))
    thoughts = thought_of(message) or thoughts
    parts: list[Part] = [Reasoning(thoughts)] if thoughts else []
    refused = "" if words else str(message.get("refusal") or "")
    parts += [Text(words or refused, refused=bool(refused))] if words or refused else []
    for index, call in enumerate(objects(message.get("tool_calls"))):
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise malformed("a tool call without a function")
        # an empty text is no JSON
        name, arguments = function["name"], arguments_of(function) or "{}"
        call_id = str(call.get("id") or "") or made_id(answer, index, name, arguments)
        parts.append(ToolCall(call_id, name, arguments, signature_of(call)))
    return parts


def write(answer: Answer, answer_id: str, created: int, model: str) -> dict[str, Any]:
    """The chat.completion of an answer, as the official client reads it."""
    refused = "".join(part.text for part in answer.parts if isinstance(part, Text) and part.refused) or None
    message: dict[str, Any] = {"role": "assistant", "content": None if refused else _text(answer), "refusal": refused}
    if thought := "".join(part.text for part in answer.parts if isinstance(part, Reasoning)):
        message["reasoning_content"] = thought
    if calls := [call_of(part) for part in answer.parts if isinstance(part, ToolCall)]:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_name(answer.finish, bool(refused))}
    body: dict[str, Any] = {"id": answer_id, "object": "chat.completion", "created": created, "model": model, "choices": [choice]}
    return body | ({"usage": usage.write(answer.usage)} if answer.usage else {})


def finish_name(finish: Finish, refused: bool) -> str:
    """Why the answer ended; a refusal that the model says in words is an answer that ended by itself."""
    return "stop" if refused and finish is Finish.CONTENT_FILTER else NAMES[finish]


def call_of(part: ToolCall) -> dict[str, Any]:
    """A tool call of an answer."""
    made: dict[str, Any] = {"id": part.call_id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
    return made | ({"extra_content": {"google": {"thought_signature": part.signature}}} if part.signature else {})


def _text(answer: Answer) -> str | None:
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    if not texts and any(isinstance(part, ToolCall | Foreign) for part in answer.parts):
        return None
    return "".join(texts)
