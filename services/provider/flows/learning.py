"""Estimates of output tokens on their store: asked when money is reserved, corrected when it is settled."""

from datetime import datetime

from mesh.db import Transaction
from services.provider import estimate_store, estimating
from services.provider.flows.known import Known
from services.provider.labels import Labels


async def output_tokens(tx: Transaction, known: Known, labels: Labels, max_output_tokens: int = 0) -> int:
    """Output tokens to reserve for a call with these labels."""
    everybody, user = await estimate_store.learned(tx, (labels.provider_id, labels.model), labels.user_id)
    return estimating.output_tokens(everybody, user, known.tuning, max_output_tokens)


async def characters_per_token(tx: Transaction, known: Known, model: tuple[str, str]) -> float:
    """By how many characters of a model's answer under way a token is counted."""
    everybody, _ = await estimate_store.learned(tx, model, "")
    return estimating.characters_per_token(everybody, known.tuning)


async def observe(tx: Transaction, known: Known, labels: Labels, actual: int, cap: int, now: datetime, characters: int = 0) -> None:
    """Learns from a call that gave `actual` output tokens, in so many characters, and could have given `cap` (0: not known)."""
    if not labels.model or actual <= 0:
        return
    model = labels.provider_id, labels.model
    everybody, user = await estimate_store.learned(tx, model, labels.user_id)
    estimate = estimating.output_tokens(everybody, user, known.tuning)
    if cap and actual >= cap and cap <= estimate:
        # it was cut off before it could say anything about the estimate
        return
    seen = {labels.user_id: estimating.observe(user, actual, estimate, known.tuning, characters)} if labels.user_id else {}
    seen[""] = estimating.observe(everybody, actual, estimate, known.tuning, characters)
    await estimate_store.put(tx, model, seen, now)
