"""The registry and its keys as messages of the contract and back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import registry_service_pb2 as api

from services.provider import money, wire
from services.provider.keys import ENVIRONMENT, StoredKey
from services.provider.pricing import Price
from services.provider.registry import DIALECTS, Model, Provider

_DIALECTS = {name: api.Dialect.ValueType(number) for number, name in enumerate(DIALECTS, 1)}
_NAMES = {number: name for name, number in _DIALECTS.items()}
_TEXTS = ("display_name", "base_url", "address", "region", "data_policy", "path", "auth_header", "api_version")
_TIMEOUTS = ("connect", "first_byte", "idle", "total")
_BATCH = ("batch_texts", "batch_tokens")
_RATES = ("input", "output", "cached_input", "cache_write", "audio_input", "cached_audio")


def from_provider(message: api.ProviderDefinition) -> dict[str, Any]:
    """The definition as the registry file would say it, without the models."""
    table: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(message, name))}
    table["dialect"] = _NAMES.get(message.dialect, "openai")
    table |= {name: dict(value) for name in ("headers", "rename") if (value := getattr(message, name))}
    table |= {"drop": list(message.drop)} if message.drop else {}
    table |= {name: True for name in ("local", "send_reasoning", "cache_marks") if getattr(message, name)}
    table |= {name: value for name in ("tokens_per_second", *_BATCH) if (value := getattr(message, name))}
    if message.HasField("timeouts"):
        table["timeouts"] = _timeouts(message.timeouts)
    return table


def _timeouts(message: api.CallTimeouts) -> dict[str, str]:
    given = {name: getattr(message, name) for name in _TIMEOUTS if message.HasField(name)}  # type: ignore[arg-type] # names of its fields
    return {name: f"{wire.from_duration(length, name) // timedelta(milliseconds=1)}ms" for name, length in given.items()}


def to_provider(provider: Provider, *, changed_here: bool, tokens_per_second: float) -> api.ProviderDefinition:
    """A provider as it stands."""
    manner, limits = provider.manner, provider.timeouts
    return api.ProviderDefinition(
        provider_id=provider.provider_id,
        display_name=provider.display_name,
        dialect=_DIALECTS[provider.dialect],
        base_url=provider.base_url,
        local=provider.local,
        address=provider.address,
        region=provider.region,
        data_policy=provider.data_policy,
        path=manner.path,
        auth_header=manner.auth_header,
        api_version=manner.api_version,
        headers=manner.headers,
        rename=manner.rename,
        drop=manner.drop,
        send_reasoning=manner.send_reasoning,
        cache_marks=manner.cache_marks,
        batch_texts=manner.batch.texts,
        batch_tokens=manner.batch.tokens,
        timeouts=api.CallTimeouts(**{name: _duration(getattr(limits, name)) for name in _TIMEOUTS}),
        tokens_per_second=tokens_per_second,
        disabled=not provider.enabled,
        changed_here=changed_here,
    )


def _duration(length: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(length)
    return message


def from_model(message: api.ModelDefinition) -> dict[str, Any]:
    """The definition as the registry file would say it."""
    table: dict[str, Any] = {"quality": message.quality, "tokens_per_second": message.tokens_per_second}
    table |= {name: value for name in ("upstream", "region", "data_policy", "context_window") if (value := getattr(message, name))}
    table["capabilities"] = list(message.capabilities)
    if message.HasField("price"):
        table["price"] = _price(message.price)
    return table


def _price(message: api.ModelRates) -> dict[str, str]:
    given = {name: f"{name}_per_million" for name in _RATES}
    amounts = {name: getattr(message, field) for name, field in given.items() if message.HasField(field)}  # type: ignore[arg-type] # as above
    return {name: money.show(wire.from_money(amount, f"model.price.{given[name]}")) for name, amount in amounts.items()}


def to_model(model: Model, *, changed_here: bool, price: Price | None) -> api.ModelDefinition:
    """A model as it stands."""
    message = api.ModelDefinition(
        provider_id=model.provider_id,
        model=model.name,
        upstream=model.upstream,
        context_window=model.context_window,
        capabilities=model.capabilities,
        quality=model.quality,
        tokens_per_second=model.tokens_per_second,
        region=model.region,
        data_policy=model.data_policy,
        disabled=not model.enabled,
        changed_here=changed_here,
        price_known=price is not None,
    )
    if price is not None:
        amounts = {f"{name}_per_million": getattr(price.base, name) for name in _RATES}
        message.price.CopyFrom(
            api.ModelRates(**{name: wire.to_money(amount) for name, amount in amounts.items() if amount is not None})
        )
    return message


def to_key(key: StoredKey, now: datetime, used: datetime | None, *, readable: bool) -> api.ProviderKey:
    """A key without its secret; `used` is when it was last."""
    message = api.ProviderKey(
        key_id=key.key_id,
        provider_id=key.provider_id,
        display_name=key.display_name,
        hint=key.hint,
        weight=key.weight,
        state=_state(key, now, readable),
    )
    moments: Mapping[str, datetime | None] = {
        "create_time": key.created, "last_used_time": used, "end_time": key.ends,
    }  # fmt: skip
    for name, moment in moments.items():
        if moment is not None:
            getattr(message, name).FromDatetime(moment)
    return message


def to_environment_key(provider_id: str, hint: str, used: datetime | None) -> api.ProviderKey:
    """The key of the environment."""
    state = api.ProviderKey.STATE_ACTIVE
    message = api.ProviderKey(key_id=ENVIRONMENT, provider_id=provider_id, hint=hint, weight=1, state=state)
    if used is not None:
        message.last_used_time.FromDatetime(used)
    return message


def _state(key: StoredKey, now: datetime, readable: bool) -> api.ProviderKey.State.ValueType:
    if not key.active(now):
        return api.ProviderKey.STATE_ENDED
    if not readable:
        return api.ProviderKey.STATE_UNREADABLE
    return api.ProviderKey.STATE_ACTIVE if key.weight else api.ProviderKey.STATE_RESERVE
