"""What a scenario is: real work for one service, written by hand; the rest of the matrix is the same for all."""

import importlib
import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mesh.outbox import Fact

if TYPE_CHECKING:
    # the stand runs a scenario, and the scenario asks its stand
    from tests.robustness.matrix.stand import Stand


class Scenario(ABC):
    """Work of one service. Begins when it is opened; far ends that it needs live as long as `stack`."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.stand: Stand

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Starts the far ends; gives the settings that the service is run with."""
        return {}

    async def prepare(self) -> None:
        """Makes what the work needs, once the service serves."""
        return

    @abstractmethod
    async def work(self, number: int) -> None:
        """One piece of work by `stand.caller`; what was acknowledged is noted."""

    def fact(self, number: int) -> tuple[str, Fact] | None:
        """What another service tells meanwhile: its name and the fact. None when this one listens to nobody."""
        return None

    @abstractmethod
    async def read(self) -> None:
        """A question that needs no write, so that a full disk or a lock of others is no reason to refuse it."""

    @abstractmethod
    async def ticks(self) -> int:
        """A count that only what goes on in the background makes grow."""

    @abstractmethod
    async def broken(self) -> str:
        """The first thing that is not as it was acknowledged, "" when all is; asked until it is, while nobody calls."""

    def request_id(self) -> str:
        """A fresh request_id that the seed repeats."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))


def scenario_of(service: str, folder: Path, chance: random.Random) -> Scenario:
    """The scenario of a service, from the module of its name."""
    name = f"tests.robustness.matrix.scenarios.{service}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AssertionError(f"{service} has no scenario: write {name}, a class `Work` that is a Scenario") from error
    return cast(Scenario, module.Work(folder, chance))
