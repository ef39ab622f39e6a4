"""What a service stands on: its database, its way to tell events, its way to the rest of the mesh."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event

from mesh import answers, outbox
from mesh.client import MeshClient
from mesh.clock import Clock, to_us
from mesh.db import Database, Transaction
from mesh.ids import Ids
from mesh.inbox import Handler
from mesh.settings import MeshSettings, Section

R = TypeVar("R", bound=Message)
S = TypeVar("S", bound=Section)


@dataclass
class Parts:
    """What a service's build() gives: what it answers, what it listens for, what it does in the background."""

    servicers: list[tuple[Callable[[Any, grpc.aio.Server], None], Any]]
    handlers: dict[str, Handler] = field(default_factory=dict)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)
    close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    # called when draining begins, before running calls are waited for: ends streams that would never end by themselves
    drain: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    # full names of RPCs that check their requests themselves, because the general check is too slow for them
    self_validating: frozenset[str] = frozenset()
    # streams that stay open for hours, on top of the calls that a process answers at a time
    open_streams: int = 0
    # order within a subject costs one acknowledgement per event; a listener that only counts can do without
    ordered: bool = True


class Host:
    """Given to build(); everything a service needs that is not its own."""

    def __init__(
        self,
        name: str,
        settings: MeshSettings,
        database: Database,
        client: MeshClient,
        clock: Clock,
        ids: Ids,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.db = database
        self.client = client
        self.clock = clock
        self.ids = ids
        self.offer_to_relay: Callable[[int, Event], None] = _nobody
        self._env = env

    @property
    def data_folder(self) -> Path:
        """Folder of this service's own files."""
        return self.settings.data_folder / self.name

    def settings_of(self, section: type[S]) -> S:
        """The service's own settings."""
        return section.load(self._env)

    async def once(
        self, request: Message, response_type: type[R], effect: Callable[[Transaction], Awaitable[R]], *, brief: bool = False
    ) -> R:
        """Does a write: one transaction for effect, events and the answer kept under the request_id; `brief` as Database has it.

        The same request_id again gets the first answer and changes nothing; with another request it is ALREADY_EXISTS.
        """

        async def work(tx: Transaction) -> R:
            known = await answers.find(tx, request, response_type)
            if known is not None:
                return known
            response = await effect(tx)
            await answers.keep(tx, request, response, to_us(self.clock.now()))
            return response

        return await self.db.submit(work, brief=brief)

    async def answered(self, request: Message, response_type: type[R]) -> R | None:
        """The answer given before to this request_id, or None: asked before outside work that must not happen twice."""
        if not answers.request_id_of(request):
            return None
        return await self.db.read(lambda tx: answers.find(tx, request, response_type))

    async def tell(self, tx: Transaction, fact: outbox.Fact) -> str:
        """Tells a fact: its event goes to the outbox in the same transaction. Gives the event's id."""
        event = outbox.make_event(fact, self.name, self.clock, self.ids)
        number = await outbox.add(tx, event)
        tx.after_commit(partial(self.offer_to_relay, number, event))
        return event.id


def _nobody(number: int, event: Event) -> None:
    """Offers it to no relay: there is none yet."""
