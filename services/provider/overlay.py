"""The registry at run time: what was registered, changed or deleted since, laid over the table of the registry file."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

Table = dict[str, Any]


class Change(Struct, frozen=True):
    """A change of a provider (`model` is "") or a model; `definition` None: what stood before stands, and only the flags count."""

    provider_id: str
    model: str
    definition: Mapping[str, Any] | None
    enabled: bool = True
    deleted: bool = False


def lay_over(table: Mapping[str, Any], changes: Iterable[Change]) -> Table:
    """The table with the changes applied: those of providers first, so that a model finds its provider."""
    providers: dict[str, Table] = {name: dict(entry) for name, entry in table.get("providers", {}).items()}
    found = list(changes)
    for change in (change for change in found if not change.model):
        _provider(providers, change)
    for change in (change for change in found if change.model):
        if change.provider_id in providers:
            _model(providers[change.provider_id], change)
    return {**table, "providers": providers}


def _provider(providers: dict[str, Table], change: Change) -> None:
    if change.deleted:
        providers.pop(change.provider_id, None)
        return
    before = providers.get(change.provider_id)
    if before is None and change.definition is None:
        # a file that no longer has it: nothing is left to switch
        return
    models = (before or {}).get("models", {})
    made = dict(before or {}) if change.definition is None else {**change.definition, **_kept(before)}
    providers[change.provider_id] = {**made, "models": models, "enabled": change.enabled}


def _kept(before: Table | None) -> Table:
    """What a definition does not say: which variables hold its keys is the file's to say."""
    return {name: before[name] for name in ("key_environment",) if before and name in before}


def _model(provider: Table, change: Change) -> None:
    models = dict(provider.get("models", {}))
    before = models.get(change.model)
    if change.deleted:
        models.pop(change.model, None)
    else:
        made = before if change.definition is None else change.definition
        if made is not None:
            models[change.model] = {**made, "enabled": change.enabled}
    provider["models"] = models
