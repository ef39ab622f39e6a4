"""The list of models as the clients of OpenAI and of Anthropic both read it."""

from collections.abc import Iterable
from typing import Any

from services.provider.completing_port import AUTO
from services.provider.registry import Model

# who "owns" the names that stand for models
OURS = "tooloo"
_EPOCH = "1970-01-01T00:00:00Z"


def listed(
    models: Iterable[Model], aliases: Iterable[str] = (), limit: int = 0, after: str = "", before: str = ""
) -> dict[str, Any]:
    """What may be asked for as a model, by id: models, aliases, "auto"; `limit` 0: all. With `before` those right before it."""
    found = [entry for entry in _entries(models, aliases) if entry["id"] > after and not (before and entry["id"] >= before)]
    cut = slice(-limit, None) if before else slice(limit)
    shown = found[cut] if limit else found
    ids = [entry["id"] for entry in shown]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": shown, "has_more": len(shown) < len(found), **ends}


def find(models: Iterable[Model], name: str, aliases: Iterable[str] = ()) -> dict[str, Any] | None:
    """The model or alias of this id, or the model of this bare name when only one provider has it."""
    entries = _entries(models, aliases)
    exact = [entry for entry in entries if entry["id"] == name]
    bare = [entry for entry in entries if entry["id"].partition("/")[2] == name]
    return exact[0] if exact else bare[0] if len(bare) == 1 else None


def _entries(models: Iterable[Model], aliases: Iterable[str]) -> list[dict[str, Any]]:
    real = {f"{model.provider_id}/{model.name}": model.provider_id for model in models if model.enabled}
    return [_entry(name, owner) for name, owner in sorted({**dict.fromkeys([AUTO, *aliases], OURS), **real}.items())]


def _entry(model_id: str, owner: str) -> dict[str, Any]:
    """`created` belongs to OpenAI's form and `created_at` to Anthropic's; nobody tells us either."""
    openai = {"id": model_id, "object": "model", "created": 0, "owned_by": owner}
    return {**openai, "type": "model", "display_name": model_id, "created_at": _EPOCH}
