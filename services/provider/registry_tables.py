"""The registry read from tables: the edited file, what was registered since, the prices; RegistryError says what does not fit."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from services.provider.constraints import DATA_POLICIES
from services.provider.pricelist import Key, PriceList, RegistryError, read_price
from services.provider.pricing import FREE, Price
from services.provider.registry import DIALECTS, Model, Provider, Registry
from services.provider.target import Manner, Timeouts
from services.provider.texts import EMBEDDINGS, Batch

_MODEL_KEYS = {
    *("tier", "context_window", "capabilities", "price", "quality", "tokens_per_second", "enabled"),
    *("upstream", "region", "data_policy"),
}
_MANNER_KEYS = {
    *("path", "auth_header", "api_version", "headers", "rename", "drop", "send_reasoning", "cache_marks"),
    *("batch_texts", "batch_tokens"),
}
_PROVIDER_KEYS = {
    *("display_name", "key_environment", "local", "address", "tokens_per_second", "models", "enabled"),
    *("dialect", "base_url", "region", "data_policy", "timeouts"),
    *_MANNER_KEYS,
}
_TIMEOUT_KEYS = {"connect", "first_byte", "idle", "total"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_PORTS = {"http": 80, "https": 443}
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_PROVIDER_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def build_registry(table: Mapping[str, Any], prices: PriceList) -> Registry:
    """Registry of a parsed providers.toml and a price list; RegistryError for what does not fit."""
    tiers = table.get("tiers", {})
    providers = {
        provider_id: parse_provider(provider_id, entry, tiers, prices)
        for provider_id, entry in sorted(table.get("providers", {}).items())
    }
    found: dict[tuple[str, str], Price] = dict(prices.prices)
    found |= {model.key: model.price for provider in providers.values() for model in provider.models if model.price is not None}
    return Registry(providers, found)


def parse_provider(provider_id: str, entry: Mapping[str, Any], tiers: Mapping[str, Any], prices: PriceList) -> Provider:
    """One provider with its models; RegistryError for what does not fit."""
    where = f"providers.{provider_id}"
    if not _PROVIDER_ID.fullmatch(provider_id):
        raise RegistryError(f"{where}: an id is lower-case letters, digits, - and _, at most 63")
    _known(where, entry, _PROVIDER_KEYS)
    dialect, address, local = entry.get("dialect", "openai"), entry.get("address", ""), entry.get("local", False)
    if dialect not in DIALECTS:
        raise RegistryError(f"{where}: dialect {dialect!r} is not one of {', '.join(DIALECTS)}")
    models = tuple(_parse_model(provider_id, entry, name, row, tiers, prices) for name, row in sorted(entry["models"].items()))
    url = entry.get("base_url", "") or (f"http://{address}" if local and address else "")
    base_url = _checked_url(where, url) if url else ""
    return Provider(
        provider_id,
        entry.get("display_name", provider_id),
        models,
        tuple(entry.get("key_environment", ())),
        local,
        address or (_address_of(base_url) if local else ""),
        dialect,
        base_url,
        _manner(where, entry),
        _timeouts(where, entry.get("timeouts", {})),
        entry.get("enabled", True),
        entry.get("region", ""),
        entry.get("data_policy", ""),
    )


def _checked_url(where: str, url: str) -> str:
    """An address that may be called: keys must not travel in it, nor over a plain wire unless the operator writes http."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    if not port_fits or parts.scheme not in ("https", "http") or not parts.hostname:
        raise RegistryError(f"{where}: base_url must be an http or https URL, e.g. https://api.example.com/v1")
    if (
        parts.username
        or parts.password
        or parts.query
        or parts.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        raise RegistryError(f"{where}: base_url must hold no user, password, query or fragment; keys are added with AddProviderKey")
    if _link_local(parts.hostname):
        raise RegistryError(f"{where}: base_url leads to a link-local address, where no provider is")
    return url.rstrip("/")


def _address_of(url: str) -> str:
    """The "host:port" of a URL; "" of none."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}" if parts.hostname else ""


def _link_local(host: str) -> bool:
    """Link-local addresses are where clouds answer with the machine's own credentials."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_link_local


def _manner(where: str, entry: Mapping[str, Any]) -> Manner:
    headers, rename = entry.get("headers", {}), entry.get("rename", {})
    own = entry.get("auth_header", "")
    for name in (*headers, *((own,) if own else ())):
        if not _HEADER.fullmatch(name):
            raise RegistryError(f"{where}: {name!r} is no name of a header")
    texts = (*headers.values(), *rename, *rename.values(), entry.get("path", ""), entry.get("api_version", ""))
    if not all(isinstance(text, str) and text.isascii() and (text == "" or text.isprintable()) for text in texts):
        raise RegistryError(f"{where}: headers, rename, path and api_version are plain text")
    return Manner(
        entry.get("path", ""),
        own,
        entry.get("api_version", ""),
        dict(headers),
        dict(rename),
        tuple(entry.get("drop", ())),
        bool(entry.get("send_reasoning", False)),
        bool(entry.get("cache_marks", False)),
        _batch(where, entry),
    )


def _batch(where: str, entry: Mapping[str, Any]) -> Batch:
    found = [entry.get(name, 0) for name in ("batch_texts", "batch_tokens")]
    if not all(isinstance(number, int) and number >= 0 for number in found):
        raise RegistryError(f"{where}: batch_texts and batch_tokens are whole numbers; 0 is as the dialect says")
    return Batch(*found)


def _timeouts(where: str, entry: Mapping[str, str]) -> Timeouts:
    _known(f"{where}.timeouts", entry, _TIMEOUT_KEYS)
    return Timeouts(**{name: _duration(f"{where}.timeouts.{name}", text) for name, text in entry.items()})


def _duration(where: str, text: str) -> timedelta:
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or not float(match[1]):
        raise RegistryError(f'{where}: write a length of time such as "500ms", "30s" or "5m"')
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _known(where: str, entry: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(entry) - keys):
        raise RegistryError(f"{where} has no field {unknown[0]!r}; known: {', '.join(sorted(keys))}")


def _parse_model(
    provider_id: str,
    provider: Mapping[str, Any],
    name: str,
    row: Mapping[str, Any],
    tiers: Mapping[str, Any],
    prices: PriceList,
) -> Model:
    where, key = f'providers.{provider_id}.models."{name}"', (provider_id, name)
    _known(where, row, _MODEL_KEYS)
    prior = {**_tier(where, row, tiers), **_only(provider, "tokens_per_second"), **_only(row, "quality", "tokens_per_second")}
    window = row.get("context_window", prices.windows.get(key, 0))
    if window < 1:
        raise RegistryError(f"{where}: give its context_window in tokens; the price list does not know it")
    if not 0 <= prior["quality"] <= 1 or not prior["tokens_per_second"] > 0:
        raise RegistryError(f"{where}: quality must lie in 0..1 and tokens_per_second above 0")
    if EMBEDDINGS in row.get("capabilities", ()) and provider.get("dialect") == "anthropic":
        raise RegistryError(f"{where}: the anthropic dialect has no call for embeddings")
    local = provider.get("local", False)
    policy = row.get("data_policy", provider.get("data_policy", "local" if local else ""))
    if policy not in DATA_POLICIES:
        raise RegistryError(f"{where}: data_policy {policy!r} is not one of {', '.join(filter(None, DATA_POLICIES))}")
    return Model(
        provider_id,
        name,
        FREE if local else _price(where, row, key, prices),
        window,
        float(prior["quality"]),
        float(prior["tokens_per_second"]),
        tuple(row.get("capabilities", ())),
        row.get("enabled", True) and provider.get("enabled", True),
        row.get("upstream", ""),
        row.get("region", provider.get("region", "local" if local else "")),
        policy,
    )


def _tier(where: str, row: Mapping[str, Any], tiers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The priors of a tier; none are needed where both are given."""
    if "tier" not in row and {"quality", "tokens_per_second"} <= set(row):
        return {}
    if row.get("tier") not in tiers:
        raise RegistryError(f"{where}: tier {row.get('tier')!r} is not one of {', '.join(sorted(tiers))}")
    found: Mapping[str, Any] = tiers[row["tier"]]
    return found


def _price(where: str, row: Mapping[str, Any], key: Key, prices: PriceList) -> Price | None:
    """A price of its own, else that of the list: under its own name, or under the name that the provider knows it by."""
    if "price" in row:
        # vectors have no output tokens
        free = {"output": "0"} if EMBEDDINGS in row.get("capabilities", ()) else {}
        return read_price(where, {**free, **row["price"]})
    return prices.prices.get(key) or prices.prices.get((key[0], row.get("upstream", "")))


def _only(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}
