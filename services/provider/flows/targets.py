"""From what an attempt names to where its call goes."""

from collections.abc import Mapping

from mesh import errors
from services.provider.attempts import Try
from services.provider.chat import Chat
from services.provider.dialects import table
from services.provider.flows.known import Known
from services.provider.keys import Key
from services.provider.target import Target, Timeouts


def target_of(known: Known, keys: Mapping[str, tuple[Key, ...]], attempt: Try, *, silent: bool) -> Target:
    """The target of an attempt, with no more time than it has left; UNAVAILABLE when it left the registry meanwhile."""
    at = attempt.candidate.target
    provider, model = known.registry.providers.get(at.provider_id), known.registry.model(at.provider_id, at.model)
    if provider is None or model is None:
        raise errors.unavailable(f"{at.provider_id}/{at.model}", detail="it was taken out of the registry")
    secret = next((key.secret for key in keys.get(at.provider_id, ()) if key.key_id == attempt.key_id), "")
    limits = provider.timeouts
    total = min(limits.total, attempt.timeout)
    # of an answer that comes whole the first byte is sent when the last one is made
    first_byte = min(limits.total if silent else limits.first_byte, attempt.first_token_timeout)
    idle = max(limits.idle, first_byte) if silent else limits.idle
    return provider.target(model, secret, attempt.key_id, Timeouts(limits.connect, first_byte, idle, total))


def left_out(known: Known, chat: Chat, provider_id: str, name: str) -> tuple[str, ...]:
    """What of a conversation did not go along to who answered it, by OpenAI's names."""
    provider, model = known.registry.providers.get(provider_id), known.registry.model(provider_id, name)
    return table.left_out(chat, provider.target(model)) if provider and model else ()
