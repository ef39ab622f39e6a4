"""The list of models as the clients of OpenAI and of Anthropic both read it."""

from collections.abc import Iterable
from typing import Any

from services.provider.completing_port import AUTO
from services.provider.registry import Model

_EPOCH = "1970-01-01T00:00:00Z"


def listed(models: Iterable[Model], limit: int = 0, after: str = "") -> dict[str, Any]:
    """Models that may be called, by id; `limit` 0: all."""
    found = [entry for entry in _entries(models) if entry["id"] > after]
    shown = found[:limit] if limit else found
    ids = [entry["id"] for entry in shown]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return {"object": "list", "data": shown, "has_more": len(shown) < len(found), **ends}


def find(models: Iterable[Model], name: str) -> dict[str, Any] | None:
    """The model of this id, or of this bare name when only one provider has it."""
    entries = _entries(models)
    exact = [entry for entry in entries if entry["id"] == name]
    bare = [entry for entry in entries if entry["id"].partition("/")[2] == name]
    return exact[0] if exact else bare[0] if len(bare) == 1 else None


def _entries(models: Iterable[Model]) -> list[dict[str, Any]]:
    real = [_entry(f"{model.provider_id}/{model.name}", model.provider_id) for model in models if model.enabled]
    return sorted([_entry(AUTO, "tooloo"), *real], key=lambda entry: str(entry["id"]))


def _entry(model_id: str, owner: str) -> dict[str, Any]:
    """`created` belongs to OpenAI's form and `created_at` to Anthropic's; nobody tells us either."""
    openai = {"id": model_id, "object": "model", "created": 0, "owned_by": owner}
    return {**openai, "type": "model", "display_name": model_id, "created_at": _EPOCH}
