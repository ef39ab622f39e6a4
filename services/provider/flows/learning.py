"""Estimates of output tokens on their store: asked when money is reserved, corrected when it is settled."""

from collections import defaultdict
from collections.abc import Sequence

from mesh.db import Transaction
from services.provider import estimate_store, estimating
from services.provider.estimating import Learned
from services.provider.flows.known import Known
from services.provider.flows.unnoted import Answer
from services.provider.labels import Labels


async def output_tokens(tx: Transaction, known: Known, labels: Labels, max_output_tokens: int = 0) -> int:
    """Output tokens to reserve for a call with these labels."""
    everybody, user = await estimate_store.learned(tx, (labels.provider_id, labels.model), labels.user_id)
    return estimating.output_tokens(everybody, user, known.tuning, max_output_tokens)


async def characters_per_token(tx: Transaction, known: Known, model: tuple[str, str]) -> float:
    """By how many characters of a model's answer under way a token is counted."""
    everybody, _ = await estimate_store.learned(tx, model, "")
    return estimating.characters_per_token(everybody, known.tuning)


async def observe(tx: Transaction, known: Known, answers: Sequence[Answer]) -> None:
    """Learns from how long answers were, in their order."""
    models: defaultdict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        models[answer.model].append(answer)
    for model, of_model in models.items():
        await _observe(tx, known, model, of_model)


async def _observe(tx: Transaction, known: Known, model: tuple[str, str], answers: Sequence[Answer]) -> None:
    """The same of one model; what an answer was taken to be is by what was known before it."""
    tuning, nobody = known.tuning, Learned()
    seen: dict[str, Learned] = {}
    for user_id in {"", *(answer.user_id for answer in answers)}:
        everybody, user = await estimate_store.learned(tx, model, user_id)
        seen[user_id] = user if user_id else everybody
    changed: dict[str, Learned] = {}
    for answer in answers:
        actual, cap, user_id = answer.output_tokens, answer.cap, answer.user_id
        estimate = estimating.output_tokens(seen[""], seen[user_id] if user_id else nobody, tuning)
        if cap and actual >= cap and cap <= estimate:
            # it was cut off before it could say anything about the estimate
            continue
        for who in {"", user_id}:
            seen[who] = changed[who] = estimating.observe(seen[who], actual, estimate, tuning, answer.characters)
    if changed:
        await estimate_store.put(tx, model, changed, answers[-1].time)
