"""Whom a query may ask: the candidates of its selection that can be called here, and the chain that it names."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mesh import errors
from mesh.db import Transaction
from services.provider import fallback_store, selection_store
from services.provider.fallback import Candidate, Cause, Link, Plan, Target
from services.provider.flows.keyring import Keyring
from services.provider.flows.known import Known
from services.provider.keys import Key
from services.provider.registry import Model, Provider

DEFAULT_CHAIN = "default"
# stands for no key where none is needed
NO_KEY = Key("", 1, "")


class Callable(Struct, frozen=True):
    """The models that can be called from here, and the keys of their providers in the order in which to try them."""

    candidates: tuple[Candidate, ...]
    keys: Mapping[str, tuple[Key, ...]]


async def callable_of(tx: Transaction, known: Known, keyring: Keyring, targets: Iterable[Target], seed: str) -> Callable:
    """Those of the targets that are not switched off, whose provider has an address, and a key where it needs one."""
    keys: dict[str, tuple[Key, ...]] = {}
    found = []
    for target in targets:
        model = known.registry.model(target.provider_id, target.model)
        provider = known.registry.providers.get(target.provider_id)
        if model is None or provider is None or not model.enabled or not provider.callable:
            continue
        if target.provider_id not in keys:
            keys[target.provider_id] = await _keys(tx, known, keyring, provider, seed)
        if keys[target.provider_id]:
            found.append(_candidate(model, keys[target.provider_id]))
    return Callable(tuple(found), keys)


async def _keys(tx: Transaction, known: Known, keyring: Keyring, provider: Provider, seed: str) -> tuple[Key, ...]:
    found = await keyring.keys_of(tx, provider.provider_id, seed)
    return found or (() if _wants_key(known, provider) else (NO_KEY,))


def _wants_key(known: Known, provider: Provider) -> bool:
    """Whether it is not to be called without a key: one whose keys have ended, or cannot be opened, is none that takes anybody."""
    return provider.needs_key or known.had_key(provider.provider_id)


def may_call(known: Known, provider_id: str) -> bool:
    """Whether a provider has an address, and a key where it needs one."""
    provider = known.registry.providers.get(provider_id)
    return provider is not None and provider.callable and (not _wants_key(known, provider) or bool(known.keys_of(provider_id)))


def _candidate(model: Model, keys: tuple[Key, ...]) -> Candidate:
    return Candidate(model.key, tuple(key.key_id for key in keys), model.context_window)


async def chain_of(tx: Transaction, chain_id: str) -> Mapping[Cause, tuple[Target, ...]]:
    """The targets of a chain by cause; without a name that of the chain "default", if there is one. NOT_FOUND for another name."""
    stored = await fallback_store.get_chain(tx, chain_id or DEFAULT_CHAIN)
    if stored is None and chain_id:
        raise errors.not_found("fallback chain", chain_id)
    if stored is None:
        return {}
    return {cause: await _targets(tx, links) for cause, links in stored.chain.links.items()}


async def _targets(tx: Transaction, links: Iterable[Link]) -> tuple[Target, ...]:
    """The targets of links; an alias stands for all of its targets, the weightiest first, and for none when it is gone."""
    found: list[Target] = []
    for link in links:
        if link.target is not None:
            found.append(link.target)
        elif (alias := await selection_store.get_alias(tx, link.alias)) is not None:
            found += (Target(*key) for key in sorted(alias.shares, key=lambda key: (-alias.shares[key], key)))
    return tuple(dict.fromkeys(found))


def plan(candidates: Iterable[Candidate], chain: Mapping[Cause, tuple[Target, ...]], first: Iterable[Target]) -> Plan:
    """The plan of a query: `first` are what the selection ranked, of `candidates` those that can be called."""
    by_target = {candidate.target: candidate for candidate in candidates}
    ranked = tuple(by_target[target] for target in first if target in by_target)
    chains = {cause: tuple(by_target[target] for target in targets if target in by_target) for cause, targets in chain.items()}
    return Plan(ranked, chains)
