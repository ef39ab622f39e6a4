"""The echo model: stands in when no provider is configured, says so, and gives the caller's words back. Free and deterministic."""

import re

from services.provider.assembling import pieces
from services.provider.chat import Answer, Chat, Delta, Finish, Role, Text, Usage
from services.provider.tokens import of_characters, of_chat

DIALECT = "echo"
NOTICE = (
    "This is TooLoo's local echo model, not a language model: it stands in because no provider is configured. "
    "Set a key (for example OPENAI_API_KEY), add one with AddProviderKey, or start Ollama. You said: "
)
_LONGEST_ECHO = 2000


def answer(chat: Chat, model: str) -> Answer:
    """What it is, and the last words of the user, cut to the wished length."""
    said = [part.text for message in chat.messages if message.role is Role.USER for part in message.parts if isinstance(part, Text)]
    text = NOTICE + (said[-1][:_LONGEST_ECHO] if said else "nothing")
    most = chat.max_output_tokens
    finish = Finish.STOP
    if most is not None and of_characters(len(text)) > most:
        text, finish = text[: int(most * 3.5)], Finish.LENGTH
    return Answer((Text(text),), finish, Usage(of_chat(chat), of_characters(len(text))), model)


def deltas(chat: Chat, model: str) -> list[Delta]:
    """The same, word by word."""
    whole = answer(chat, model)
    words = [word for part in whole.parts if isinstance(part, Text) for word in re.findall(r"\s*\S+\s*$|\s*\S+|\s+", part.text)]
    return [*(Delta(text=word, model=model) for word in words), pieces(whole)[-1]]
