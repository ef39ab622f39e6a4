"""What must hold of any service once a fault is healed: each gives what is broken, or "", and is asked until it is whole."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from tooloo.bus.v1 import bus_service_pb2 as pb

from tests.robustness.matrix.stand import Stand

_PATIENCE = 120.0
_AGAIN = 0.05


async def answers_were_expected(stand: Stand) -> str:
    """No caller got an answer that no fault excuses."""
    return "; ".join(stand.caller.unexpected[:3])


async def the_file_is_sound(stand: Stand) -> str:
    """SQLite finds its file whole."""
    (found,) = stand.rows("PRAGMA integrity_check")[0]
    wrong = stand.rows("PRAGMA foreign_key_check")
    return "" if found == "ok" and not wrong else f"{found} {wrong}"


async def the_outbox_is_empty(stand: Stand) -> str:
    """Everything that was told has come to the bus, and the bus took it."""
    waiting, refused = (stand.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("outbox", "outbox_refused"))  # noqa: S608
    return f"{waiting} events wait, {refused} were refused" if waiting or refused else ""


async def the_log_has_no_gap(stand: Stand) -> str:
    """Positions follow each other, and no event stands twice."""
    events = await stand.told()
    if [event.position for event in events] != list(range(1, len(events) + 1)):
        return "positions have gaps"
    return f"{len(events) - len({event.id for event in events})} events twice" if len({e.id for e in events}) < len(events) else ""


async def all_was_heard(stand: Stand) -> str:
    """Every event that the service listens to was handled, once, and none became a dead letter."""
    name = stand.process.name
    try:
        definition = (await stand.client.stub.GetSubscription(pb.GetSubscriptionRequest(name=name))).subscription
    except grpc.aio.AioRpcError as error:
        # it listens to nobody
        return "" if error.code() is grpc.StatusCode.NOT_FOUND else str(error.code())
    letters = (await stand.client.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription=name))).dead_letters
    if letters:
        return f"dead letters: {letters[0].last_error}"
    wanted = {(event.source, event.id) for event in await stand.told(*definition.filter.types)}
    heard = set(stand.rows("SELECT source, event_id FROM inbox"))
    return f"{len(wanted - heard)} of {len(wanted)} events were not handled" if wanted - heard else ""


async def what_was_acknowledged_stands(stand: Stand) -> str:
    """The service's own promises."""
    return await stand.scenario.broken()


VALIDATORS: list[Callable[[Stand], Awaitable[str]]] = [
    answers_were_expected,
    the_outbox_is_empty,
    all_was_heard,
    the_log_has_no_gap,
    what_was_acknowledged_stands,
    the_file_is_sound,
]


async def broken(stand: Stand) -> list[str]:
    """What is broken and stays so."""
    found = [await _settled(validator, stand) for validator in VALIDATORS]
    return [each for each in found if each]


async def _settled(validator: Callable[[Stand], Awaitable[str]], stand: Stand) -> str:
    last = "it does not end"
    try:
        async with asyncio.timeout(_PATIENCE):
            while wrong := await validator(stand):
                last = wrong
                await asyncio.sleep(_AGAIN)
    except TimeoutError:
        return f"{validator.__name__}: {last}"
    return ""
