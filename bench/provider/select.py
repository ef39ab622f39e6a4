"""How long a selection takes in process, with and without an embedding, beside simpler ways to choose.

    python -m bench.provider.select [calls]

Ours is all of it: prepare, one read transaction (policy, session, budgets, health, feedback), ranking with an explanation. The
registry is the shipped one (all models count as configured), the database holds a budget. Learned selection has been fitted to the
given number of ratings. The peers only choose: sorting a list by price; and, for learned selection, a factorisation of model and
prompt as RouteLLM's router has it (arXiv 2406.18665: a vector a model, the prompt's embedding projected) on the same embedding.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from mesh.client import MeshClient
from mesh.clock import SystemClock
from mesh.db import Database, Transaction
from mesh.host import Host
from mesh.ids import new_id
from mesh.settings import MeshSettings
from services.provider import features, selection_store
from services.provider.flows import accounts, availability, known, selecting
from services.provider.flows.advising import Advisor
from services.provider.routing import Size
from services.provider.selection_store import Observed, Prompt
from services.provider.settings import ProviderSettings
from services.provider.strategies import Strategy

CALLS, OUTCOMES, SEED = 2000, 5000, 7
# the bars of the medians, in milliseconds
PLAIN_BAR, LEARNED_BAR = 1.0, 5.0
WORDS = ("sort", "list", "query", "integral", "mitosis", "treaty", "river", "poem", "translate", "deploy", "matrix")


def prompts(count: int, chance: random.Random) -> list[str]:
    """Made-up prompts of usual length, all different."""
    return [
        f"Please explain {' '.join(chance.choices(WORDS, k=chance.randint(4, 20)))} number {number}?" for number in range(count)
    ]


async def teach(database: Database, advisor: Advisor, models: list[tuple[str, str]], chance: random.Random) -> None:
    """Fills the store with ratings and fits to them; the vectors are made up, for embedding them all takes minutes."""
    wide, now = len((await advisor.look("how long?")).embedding), SystemClock().now()
    generator = np.random.default_rng(SEED)
    observed = []
    for number, text in enumerate(prompts(OUTCOMES, chance)):
        vector = generator.normal(size=wide).astype(np.float32)
        seen = features.read(text, vector / np.linalg.norm(vector))
        prompt = Prompt(advisor.embedder.name, seen.pack())
        observed.append(
            Observed(f"o{number}", now - timedelta(minutes=number), chance.choice(models), chance.random(), 1.0, prompt)
        )

    async def work(tx: object) -> None:
        for outcome in observed:
            await selection_store.put_outcome(tx, outcome, OUTCOMES)  # type: ignore[arg-type]

    await database.write(work)
    await advisor.refresh()


async def measured(calls: int, one: Callable[[int], Awaitable[object]]) -> list[float]:
    """Milliseconds of each call."""
    taken = []
    for number in range(calls):
        begun = time.perf_counter()
        await one(number)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


def line(name: str, taken: list[float], base: float) -> None:
    """One line of the table."""
    ordered = sorted(taken)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    print(f"{name:<44}{p50:>9.3f}{p99:>9.3f}{p50 / base if base else 1:>9.1f}")


@dataclass(frozen=True)
class Setting:
    """What a selection needs, on a database of its own."""

    host: Host
    known: known.Known
    advisor: Advisor

    async def select(self, ask: selecting.Ask) -> selecting.Choice:
        """A whole selection: prepare, one read transaction, ranking."""
        prepared = await selecting.prepare(self.host, self.known, self.advisor, ask)

        async def choose(tx: Transaction) -> selecting.Choice:
            return await selecting.choose(self.host, tx, self.known, prepared, await availability.read(self.host, tx, self.known))

        return await self.host.db.read(choose)


@asynccontextmanager
async def installation(folder: Path, chance: random.Random) -> AsyncIterator[Setting]:
    """The shipped registry, a budget, and learned selection that has been taught."""
    settings, mesh = replace(ProviderSettings(), require_key="never"), MeshSettings()
    schema = Path(known.__file__).parents[1] / "schema"
    database = await Database.open(folder / "provider.db", [("provider", schema)], mesh)
    host = Host("provider", mesh, database, MeshClient("unix:nowhere", mesh), SystemClock(), new_id, {})
    knows = known.read(settings, {})
    await accounts.put_default(host, "100")
    advisor = Advisor(host, knows)
    await teach(database, advisor, [model.key for model in knows.registry.models], chance)
    yield Setting(host, knows, advisor)
    await advisor.close()
    await database.close()


async def compare(ours: Setting, texts: list[str]) -> tuple[float, float]:
    """Prints a line for each way to choose; gives our two medians, without and with an embedding."""
    size, embed = Size(200, 500), ours.advisor.embedder.embed
    prices = [(model.price.cost(200, 500), model.key) for model in ours.known.registry.models if model.price]
    factors = np.random.default_rng(SEED).normal(size=(len(prices), 128)).astype(np.float32)
    projection = np.random.default_rng(SEED).normal(size=(128, len(await embed("x")))).astype(np.float32)

    async def plain(number: int) -> object:
        return await ours.select(selecting.Ask(size, texts[number], session_id="s"))

    async def by_learning(number: int) -> object:
        return await ours.select(selecting.Ask(size, texts[number], strategy=Strategy.LEARNED))

    async def embedding(number: int) -> object:
        return await embed(texts[number] + " alone")

    async def by_price(number: int) -> object:
        return sorted(prices)

    async def by_factors(number: int) -> object:
        return np.argsort(-(factors @ (projection @ await embed(texts[number] + " peer"))))

    for warm in (plain, by_learning, embedding, by_price, by_factors):
        await warm(0)
    calls = len(texts)
    price, factor = await measured(calls, by_price), await measured(calls // 4, by_factors)
    line("peer: sort by price", price, statistics.median(price))
    plainly = await measured(calls, plain)
    line("select without embedding (ours)", plainly, statistics.median(price))
    line("peer: embedding + matrix factorisation", factor, statistics.median(factor))
    line("the embedding alone", await measured(calls // 4, embedding), statistics.median(factor))
    learnedly = await measured(calls // 4, by_learning)
    line("select with embedding, learned (ours)", learnedly, statistics.median(factor))
    return statistics.median(plainly), statistics.median(learnedly)


async def main() -> int:
    """Prints the table; 1 when a bar is missed."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        async with installation(Path(folder), chance) as ours:
            count, name = len(list(ours.known.registry.models)), ours.advisor.embedder.name
            print(f"{calls} selections among {count} models, {OUTCOMES} outcomes learned, embedding {name}, seed {SEED}")
            print(f"{'':<44}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>9}")
            plain, learned = await compare(ours, prompts(calls, chance))
    met = plain < PLAIN_BAR and learned < LEARNED_BAR
    said = "reached" if met else "MISSED"
    print(f"bars, p50: {PLAIN_BAR:g} ms without embedding, {LEARNED_BAR:g} ms with it: {said}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
