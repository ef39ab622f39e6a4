"""Every dialect by its name."""

from collections.abc import Mapping

from services.provider.chat import Chat
from services.provider.dialects.anthropic.dialect import Anthropic
from services.provider.dialects.base import Dialect, Unsupported
from services.provider.dialects.gemini.dialect import Gemini
from services.provider.dialects.ollama.dialect import Ollama
from services.provider.dialects.openai.dialect import OpenAI
from services.provider.target import Target

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(), Anthropic(), Gemini(), Ollama())}


def unfit(dialect: str, chat: Chat, model: str = "") -> str:
    """Why a conversation cannot be said in a dialect; "" when it can. For a selection that knows what each candidate speaks."""
    speaks = DIALECTS.get(dialect)
    if speaks is None:
        return ""
    try:
        speaks.request(chat, Target("", model or "model", dialect, "http://nowhere"), stream=False)
    except Unsupported as error:
        return str(error)
    return ""


def left_out(chat: Chat, target: Target) -> tuple[str, ...]:
    """What of a conversation does not go along to a target, or not as it was given, by OpenAI's names."""
    speaks = DIALECTS.get(target.dialect)
    if speaks is None:
        return ()
    try:
        return tuple(dict.fromkeys(speaks.left_out(chat, target)))
    except Unsupported:
        # it was answered before the provider was called otherwise
        return ()
