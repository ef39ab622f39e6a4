"""Learned selection as it runs: prompts are embedded, new outcomes are fitted in a thread, beliefs are given."""

# numpy is 15 MB and a tenth of a second, which an installation that learns nothing need not pay: it is loaded when it is needed
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from propcache.api import cached_property

from mesh.db import Transaction
from mesh.host import Host
from services.provider import selection_store
from services.provider.flows.known import Known
from services.provider.quality import LearnedQuality
from services.provider.selection_store import Observed, Prompt

if TYPE_CHECKING:
    from services.provider.features import Features
    from services.provider.learned import Belief, Outcome, Predictor, Tuning
    from services.provider.workers.embedding import Embedder

log = logging.getLogger(__name__)
Key = tuple[str, str]


class Advisor:
    """Knows what this installation has learned. What it holds is a copy of the store's outcomes, made anew when those change."""

    def __init__(self, host: Host, known: Known, embedder: Embedder | None = None) -> None:
        self._host, self._known = host, known
        self._given = embedder
        # what was learned from: the outcomes' change counter, how prompts were embedded, and what the registry says of models
        self._fitted: tuple[int, str, dict[Key, float]] | None = None
        self._fitting = asyncio.Lock()
        self._learned: Mapping[Key, LearnedQuality] = {}

    @cached_property
    def embedder(self) -> Embedder:
        """What embeds prompts."""
        from services.provider.workers.embedding import Embedder

        settings = self._known.settings
        return self._given or Embedder(settings.embedding_folder, settings.embedding_tokens, settings.embedding_cache)

    @cached_property
    def _tuning(self) -> Tuning:
        from services.provider.learned import Tuning

        return Tuning(prior_weight=self._known.settings.quality_prior_weight)

    @cached_property
    def _predictor(self) -> Predictor:
        from services.provider import learned

        return learned.without_outcomes(self._tuning)

    async def look(self, text: str) -> Features:
        """What a prompt looks like."""
        from services.provider import features

        return features.read(text, await self.embedder.embed(text))

    def beliefs(self, prompt: Features) -> Mapping[Key, Belief]:
        """What is expected of every model of the registry on a prompt."""
        return self._predictor.believe(prompt, self._priors())

    @property
    def learned(self) -> Mapping[Key, LearnedQuality]:
        """What was learned over all prompts of each model that there are outcomes of."""
        return self._learned

    def _priors(self) -> dict[Key, float]:
        return {model.key: model.quality for model in self._known.registry.models}

    async def refresh(self) -> bool:
        """Fits anew when outcomes came, here or in another process, or models changed; False when there was nothing new."""
        async with self._fitting:
            changes = await self._host.db.read(selection_store.outcome_changes)
            if not changes and self._fitted is None:
                return False
            state = changes, self.embedder.name, self._priors()
            if state == self._fitted:
                return False
            rows = await self._host.db.read(selection_store.outcomes)
            self._predictor = fit = await asyncio.to_thread(self._fit, rows, state[2], self._host.clock.now(), state[1])
            counts = Counter(row.model for row in rows)
            figures = zip(fit.models, fit.means, fit.evidence, strict=True)
            self._learned = {model: LearnedQuality(float(mean), counts[model], float(weight)) for model, mean, weight in figures}
            self._fitted = state
            return True

    def _fit(self, rows: Sequence[Observed], priors: Mapping[Key, float], now: datetime, embedding: str) -> Predictor:
        from services.provider import features, learned
        from services.provider.learned import Outcome

        prompts: list[Features] = []
        outcomes: list[Outcome] = []
        half_life = self._known.settings.learned_half_life.total_seconds()
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
        if "embedder" in vars(self):
            await self.embedder.close()


async def note_outcome(tx: Transaction, known: Known, outcome: Observed) -> None:
    """Keeps an outcome to learn from."""
    await selection_store.put_outcome(tx, outcome, known.settings.learned_outcomes)


async def prompt_of(tx: Transaction, selection_id: str) -> Prompt | None:
    """What a selection's prompt looked like; None when nobody looked or it is too long ago."""
    return await selection_store.get_prompt(tx, selection_id)
