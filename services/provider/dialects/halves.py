"""Halves of surrogate pairs: JSON can write one alone, no text can hold it, and both far ends and models do write them."""

from typing import Any

from msgspec.structs import replace

from services.provider.chat import Answer, Delta, Foreign, Part, Reasoning, Text, ToolCall

_HIGH, _HIGHEST = "\ud800", "\udbff"


def mended(text: str) -> str:
    """The same text; a half that stands alone becomes U+FFFD."""
    if text.isascii() or _is_whole(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mended_value(value: Any) -> Any:
    """The same JSON value with all of its texts mended."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [mended_value(item) for item in value]
    return {mended(name): mended_value(item) for name, item in value.items()} if isinstance(value, dict) else value


def mended_answer(answer: Answer) -> Answer:
    """The same answer with the words of its parts mended."""
    return replace(answer, parts=tuple(map(_part, answer.parts)))


def _part(part: Part) -> Part:
    if isinstance(part, Text | Reasoning) and not part.text.isascii():
        return replace(part, text=mended(part.text))
    if isinstance(part, ToolCall) and not part.arguments.isascii():
        return replace(part, arguments=mended(part.arguments))
    return replace(part, value=mended_value(part.value)) if isinstance(part, Foreign) else part


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Joining:
    """Mends a stream: far ends that cut texts as JavaScript does send the halves of a pair in two pieces, which are put together.

    A half that nothing follows is left out.
    """

    def __init__(self) -> None:
        # a first half by where it stands: in words, thoughts, or the arguments of a call
        self._held: dict[str | int, str] = {}

    def piece(self, delta: Delta) -> Delta:
        """The next piece, mended."""
        if delta.part is not None:
            delta = replace(delta, part=replace(delta.part, value=mended_value(delta.part.value)))
        call = delta.tool_call
        plain = delta.text.isascii() and delta.reasoning.isascii() and (call is None or call.arguments.isascii())
        if plain and not self._held:
            return delta
        text, reasoning = self._joined("text", delta.text), self._joined("reasoning", delta.reasoning)
        if call is not None:
            call = replace(call, arguments=self._joined(call.index, call.arguments))
        return replace(delta, text=text, reasoning=reasoning, tool_call=call)

    def _joined(self, place: str | int, words: str) -> str:
        if not words:
            return words
        words = self._held.pop(place, "") + words
        if _HIGH <= words[-1] <= _HIGHEST:
            self._held[place], words = words[-1], words[:-1]
        return mended(words)
