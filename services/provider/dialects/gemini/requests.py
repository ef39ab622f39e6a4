"""A conversation as the body of a generateContent request."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.provider.chat import Chat, Foreign, Image, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from services.provider.dialects.base import FIRST_TURN, arguments_of, one_call_at_most, own_extra, own_part, parsed, with_a_turn

NAME = "gemini"
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
# what a word for the effort is in tokens, for the models that take a budget
_BUDGETS = {"none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium"}
_BUDGET_MODELS = ("gemini-1", "gemini-2")
# what Google documents for calls that another model made: without a signature the newer models refuse a call in the history
_NO_SIGNATURE = "skip_thought_signature_validator"
_IMAGES = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "heic": "image/heic"}


def write(chat: Chat, model: str) -> dict[str, Any]:
    """The body; the model and whether it streams stand in the path."""
    one_call_at_most(chat, NAME)
    chat, extra = with_a_turn(chat), dict(own_extra(chat, NAME))
    writer = _Contents(model)
    body: dict[str, Any] = {"contents": writer.write(chat.messages)}
    system = [part for message in chat.messages if message.role is Role.SYSTEM for part in message.parts]
    if system:
        body["systemInstruction"] = {"parts": writer.parts(system)}
    if chat.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in chat.tools]}]
        if chat.tool_choice:
            body["toolConfig"] = {"functionCallingConfig": _choice(chat.tool_choice)}
    if config := {**_config(chat, model), **extra.pop("generationConfig", {})}:
        body["generationConfig"] = config
    return {**body, **extra}


def _config(chat: Chat, model: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "maxOutputTokens": chat.max_output_tokens,
        "temperature": chat.temperature,
        "topP": chat.top_p,
        "topK": chat.top_k if (chat.top_k or 0) > 0 else None,
        "presencePenalty": chat.presence_penalty,
        "frequencyPenalty": chat.frequency_penalty,
        "seed": chat.seed,
    }
    config = {name: value for name, value in numbers.items() if value is not None}
    config |= {"stopSequences": list(chat.stop)} if chat.stop else {}
    if chat.schema is not None:
        config["responseMimeType"] = "application/json"
        config |= {"responseJsonSchema": dict(chat.schema)} if chat.schema else {}
    if thinking := _thinking(chat, model):
        config["thinkingConfig"] = thinking
    return config


def _thinking(chat: Chat, model: str) -> dict[str, Any]:
    if chat.reasoning_tokens is None and not chat.reasoning_effort:
        return {}
    budget = chat.reasoning_tokens
    if budget is None and not model.startswith(_BUDGET_MODELS) and chat.reasoning_effort != "none":
        return {"thinkingLevel": _LEVELS.get(chat.reasoning_effort, "high"), "includeThoughts": True}
    if budget is None:
        budget = _BUDGETS.get(chat.reasoning_effort, _BUDGETS["medium"])
    return {"thinkingBudget": budget, "includeThoughts": budget > 0}


def _declaration(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name}
    made |= {"description": tool.description} if tool.description else {}
    # the field for plain JSON Schema; `parameters` takes a subset only
    return made | ({"parametersJsonSchema": dict(tool.parameters)} if tool.parameters else {})


def _choice(wish: str) -> dict[str, Any]:
    if wish.startswith("="):
        return {"mode": "ANY", "allowedFunctionNames": [wish[1:]]}
    return {"mode": _MODES[wish]}


class _Contents:
    """Writes the turns. A result names the function that was called, so the calls before are remembered."""

    def __init__(self, model: str) -> None:
        self._names: dict[str, str] = {}
        self._wants_signatures = not model.startswith(_BUDGET_MODELS)

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The turns of user and model, each speaker's in a row put together."""
        made: list[dict[str, Any]] = []
        for message in messages:
            if message.role is Role.SYSTEM:
                continue
            role = "model" if message.role is Role.ASSISTANT else "user"
            parts = self.parts(message.parts)
            if not parts:
                continue
            if made and made[-1]["role"] == role:
                made[-1]["parts"] += parts
            else:
                made.append({"role": role, "parts": parts})
        if made and made[0]["role"] == "model":
            made.insert(0, {"role": "user", "parts": [{"text": FIRST_TURN}]})
        return made

    def parts(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        """Parts; what the dialect has no use for is left out."""
        return [made for part in parts for made in self._part(part)]

    def _part(self, part: Part) -> list[dict[str, Any]]:
        if isinstance(part, Text):
            return [{"text": part.text}] if part.text else []
        if isinstance(part, Image):
            return [_image(part)]
        if isinstance(part, ToolCall):
            self._names[part.call_id] = part.name
            signature = part.signature or (_NO_SIGNATURE if self._wants_signatures else "")
            call = {"functionCall": {"name": part.name, "args": arguments_of(part.arguments)}}
            return [{**call, **({"thoughtSignature": signature} if signature else {})}]
        if isinstance(part, ToolResult):
            name = self._names.get(part.call_id, part.call_id)
            return [{"functionResponse": {"name": name, "response": _result(part)}}, *self.parts(part.others)]
        if isinstance(part, Reasoning):
            return []
        return [own_part(part, NAME)] if isinstance(part, Foreign) else []


def _image(image: Image) -> dict[str, Any]:
    if image.url:
        ending = image.url.rpartition(".")[2].lower()
        return {"fileData": {"mimeType": _IMAGES.get(ending, "image/jpeg"), "fileUri": image.url}}
    return {"inlineData": {"mimeType": image.media_type, "data": image.data}}


def _result(part: ToolResult) -> Mapping[str, Any]:
    """A result must be an object here."""
    if part.is_error:
        return {"error": part.text}
    try:
        value = parsed(part.text)
    except (ValueError, RecursionError):
        return {"result": part.text}
    return value if isinstance(value, dict) else {"result": value}
