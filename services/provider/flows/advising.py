"""Learned selection as it runs: prompts are embedded, new outcomes are fitted in a thread, beliefs are given."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from mesh.db import Transaction
from mesh.host import Host
from services.provider import features, learned, selection_store
from services.provider.features import Features
from services.provider.flows.known import Known
from services.provider.learned import Belief, Outcome, Predictor, Tuning
from services.provider.selection_store import Observed, Prompt
from services.provider.workers.embedding import Embedder

log = logging.getLogger(__name__)
Key = tuple[str, str]


class Advisor:
    """Knows what this installation has learned. What it holds is a copy of the store's outcomes, made anew when those change."""

    def __init__(self, host: Host, known: Known, embedder: Embedder | None = None) -> None:
        self._host, self._known = host, known
        settings = known.settings
        self.embedder = embedder or Embedder(settings.embedding_folder, settings.embedding_tokens, settings.embedding_cache)
        self._tuning = Tuning(prior_weight=settings.quality_prior_weight)
        self._predictor = learned.without_outcomes(self._tuning)
        self._fitted: tuple[int, str] = (0, self.embedder.name)
        self._fitting = asyncio.Lock()

    async def look(self, text: str) -> Features:
        """What a prompt looks like."""
        return features.read(text, await self.embedder.embed(text))

    def beliefs(self, prompt: Features) -> Mapping[Key, Belief]:
        """What is expected of every model of the registry on a prompt."""
        return self._predictor.believe(prompt, self._priors())

    def _priors(self) -> dict[Key, float]:
        return {model.key: model.quality for model in self._known.registry.models}

    async def refresh(self) -> bool:
        """Fits anew when outcomes came, here or in another process; False when there was nothing new."""
        async with self._fitting:
            state = (await self._host.db.read(selection_store.outcome_changes), self.embedder.name)
            if state == self._fitted:
                return False
            rows = await self._host.db.read(selection_store.outcomes)
            now, priors = self._host.clock.now(), self._priors()
            self._predictor = await asyncio.to_thread(self._fit, rows, priors, now, state[1])
            self._fitted = state
            return True

    def _fit(self, rows: Sequence[Observed], priors: Mapping[Key, float], now: datetime, embedding: str) -> Predictor:
        prompts: list[Features] = []
        outcomes: list[Outcome] = []
        half_life = max(self._known.settings.learned_half_life.total_seconds(), 3600.0)
        unknown = len(rows)
        for row in rows:
            weight = row.weight * 0.5 ** (max((now - row.time).total_seconds(), 0.0) / half_life)
            place = unknown
            if row.prompt is not None and row.prompt.embedding == embedding:
                place = len(prompts)
                prompts.append(features.unpack(row.prompt.features))
            outcomes.append(Outcome(row.model, place, row.score, weight))
        # outcomes without a prompt, or with one of another embedding, tell of the model alone
        general = [outcome for outcome in outcomes if outcome.prompt == unknown]
        special = [outcome for outcome in outcomes if outcome.prompt != unknown]
        return learned.fit(prompts, special, priors, self._tuning, general)

    async def watch(self) -> None:
        """Refreshes again and again, for ever."""
        while True:
            await asyncio.sleep(self._known.settings.learned_refresh.total_seconds())
            try:
                await self.refresh()
            except Exception:
                # what was learned before stays in use
                log.exception("outcomes could not be learned from")

    async def close(self) -> None:
        """Ends the thread of the embedding."""
        await self.embedder.close()


async def note_outcome(tx: Transaction, known: Known, outcome: Observed) -> None:
    """Keeps an outcome to learn from."""
    await selection_store.put_outcome(tx, outcome, known.settings.learned_outcomes)


async def prompt_of(tx: Transaction, selection_id: str) -> Prompt | None:
    """What a selection's prompt looked like; None when nobody looked or it is too long ago."""
    return await selection_store.get_prompt(tx, selection_id)
