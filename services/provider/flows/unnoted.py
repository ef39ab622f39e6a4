"""What waits in this process to be noted with others: successes that change nothing but averages, and how long answers were."""

import asyncio
from collections import deque
from datetime import datetime

from msgspec import Struct

from services.provider.availability import Outcome
from services.provider.fallback import Target
from services.provider.health_window import Grain


class Sight(Struct, frozen=True):
    """An outcome and its moment; `waited`: it is a success that is noted later than it came."""

    outcome: Outcome
    time: datetime
    waited: bool = False


class Answer(Struct, frozen=True):
    """Output tokens that a model gave a user, of at most `cap`, in so many characters; 0: not known."""

    model: tuple[str, str]
    user_id: str
    output_tokens: int
    cap: int
    characters: int
    time: datetime


class Unnoted:
    """Fills on the loop's thread and is emptied by a transaction, on whatever thread that runs: deques stand that."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sights: deque[Sight] = deque()
        self._answers: deque[Answer] = deque()
        # set while something waits
        self.some = asyncio.Event()
        # one at a time notes: who comes second finds everything noted that came before
        self.turn = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether nothing more may wait: it is noted at once."""
        return len(self._sights) >= self._most or len(self._answers) >= self._most

    def see(self, sight: Sight) -> None:
        """Lets a success wait."""
        self._sights.append(sight)
        self.some.set()

    def hear(self, answer: Answer) -> None:
        """Lets the length of an answer wait."""
        self._answers.append(answer)
        self.some.set()

    def successes(self, target: Target, grain: Grain, first: int) -> int:
        """Those of a model that wait, of buckets from a number on."""
        waiting = tuple(self._sights)
        return sum(1 for sight in waiting if sight.outcome.target == target and grain.number(sight.time) >= first)

    def models(self, provider_id: str) -> set[str]:
        """A provider's models of which successes wait."""
        return {sight.outcome.target.model for sight in tuple(self._sights) if sight.outcome.target.provider_id == provider_id}

    def take(self, sights: list[Sight], answers: list[Answer]) -> None:
        """Moves all that waits to the end of these."""
        while self._sights:
            sights.append(self._sights.popleft())
        while self._answers:
            answers.append(self._answers.popleft())

    def put_back(self, sights: list[Sight], answers: list[Answer]) -> None:
        """What was taken and could not be noted waits again, before all that came since."""
        self._sights.extendleft(reversed(sights))
        self._answers.extendleft(reversed(answers))
        self.some.set()
