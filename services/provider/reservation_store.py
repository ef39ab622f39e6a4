"""Every SQL statement about reservations, each a named function inside the caller's transaction."""

from collections.abc import Hashable, Mapping
from datetime import datetime, timedelta

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from mesh.remembered import UNKNOWN
from services.provider.burst import read_taken, write_taken
from services.provider.labels import from_text
from services.provider.reservation import Reservation, State

_MICROSECOND = timedelta(microseconds=1)


async def insert(tx: Transaction, reservation: Reservation) -> None:
    """Keeps a new reservation."""
    await tx.execute(
        "INSERT INTO reservation (reservation_id, state, labels, amount_nanos, input_tokens, output_tokens, created_us, expires_us,"
        " usage_id, late, wait_us, taken, max_output_tokens) VALUES (:reservation_id, :state, :labels, :amount, :input_tokens,"
        " :output_tokens, :created_us, :expires_us, '', 0, :wait_us, :taken, :max_output_tokens)",
        {
            "reservation_id": reservation.reservation_id,
            "state": int(reservation.state),
            "labels": reservation.labels.text,
            "amount": reservation.amount,
            "input_tokens": reservation.input_tokens,
            "output_tokens": reservation.output_tokens,
            "created_us": to_us(reservation.created),
            "expires_us": to_us(reservation.expires),
            "wait_us": reservation.wait // _MICROSECOND,
            "taken": write_taken(reservation.taken),
            "max_output_tokens": reservation.max_output_tokens,
        },
        now=_now(reservation),
    )


async def put(tx: Transaction, reservation: Reservation) -> None:
    """Keeps how a reservation stands now."""
    await tx.execute(
        "UPDATE reservation SET state = :state, labels = :labels, amount_nanos = :amount, output_tokens = :output_tokens,"
        " expires_us = :expires_us, ended_us = :ended_us, usage_id = :usage_id, cost_nanos = :cost, late = :late,"
        " taken = :taken"
        " WHERE reservation_id = :reservation_id",
        {
            "reservation_id": reservation.reservation_id,
            "state": int(reservation.state),
            "labels": reservation.labels.text,
            "amount": reservation.amount,
            "output_tokens": reservation.output_tokens,
            "expires_us": to_us(reservation.expires),
            "ended_us": None if reservation.ended is None else to_us(reservation.ended),
            "usage_id": reservation.usage_id,
            "cost": reservation.cost,
            "late": int(reservation.late),
            "taken": write_taken(reservation.taken),
        },
        now=_now(reservation),
    )


def _now(reservation: Reservation) -> Mapping[Hashable, object]:
    """What is remembered of it from here on: nothing when it has ended."""
    return {reservation.reservation_id: reservation if reservation.state is State.OPEN else UNKNOWN}


async def get(tx: Transaction, reservation_id: str) -> Reservation | None:
    """The reservation of that id."""

    async def load() -> Reservation | None:
        row = await tx.fetch_one(
            "SELECT * FROM reservation WHERE reservation_id = :reservation_id", {"reservation_id": reservation_id}
        )
        return _reservation(row) if row else None

    return await tx.remembered("reservation", reservation_id, load)


async def due(tx: Transaction, now: datetime, limit: int) -> list[Reservation]:
    """At most `limit` open reservations whose time has run out, the oldest first."""
    rows = await tx.fetch_all(
        "SELECT * FROM reservation WHERE state = 1 AND expires_us <= :now_us ORDER BY expires_us, reservation_id LIMIT :limit",
        {"now_us": to_us(now), "limit": limit},
    )
    return [_reservation(row) for row in rows]


async def begin_again(tx: Transaction, now: datetime) -> None:
    """Lets open reservations that were made after now, for the clock was set back, have their whole time from now on."""
    ahead = {"now_us": to_us(now)}
    # every write makes forgotten what is remembered of the table
    if await tx.fetch_one(
        "SELECT 1 FROM reservation WHERE state = 1 AND created_us > :now_us AND expires_us > created_us LIMIT 1", ahead
    ):
        await tx.execute(
            "UPDATE reservation SET expires_us = :now_us + expires_us - created_us"
            " WHERE state = 1 AND created_us > :now_us AND expires_us > created_us",
            ahead,
        )


async def open_ones(tx: Transaction, after: tuple[int, str], limit: int) -> list[Reservation]:
    """At most `limit` open reservations by expiry and id, those after that pair (microseconds, id)."""
    rows = await tx.fetch_all(
        "SELECT * FROM reservation WHERE state = 1 AND (expires_us, reservation_id) > (:after_us, :after)"
        " ORDER BY expires_us, reservation_id LIMIT :limit",
        {"after_us": after[0], "after": after[1], "limit": limit},
    )
    return [_reservation(row) for row in rows]


async def forget(tx: Transaction, before: datetime, looked_at: int) -> int:
    """Of so many reservations with the lowest ids, which are the oldest, drops those that ended before; gives their number."""
    return await tx.execute(
        "DELETE FROM reservation WHERE reservation_id IN (SELECT reservation_id FROM"
        " (SELECT reservation_id, state, ended_us FROM reservation ORDER BY reservation_id LIMIT :looked_at) AS oldest"
        " WHERE state <> 1 AND ended_us < :before_us)",
        {"before_us": to_us(before), "looked_at": looked_at},
    )


def _reservation(row: Row) -> Reservation:
    return Reservation(
        row["reservation_id"],
        from_text(row["labels"]),
        row["amount_nanos"],
        from_us(row["created_us"]),
        from_us(row["expires_us"]),
        row["input_tokens"],
        row["output_tokens"],
        State(row["state"]),
        None if row["ended_us"] is None else from_us(row["ended_us"]),
        row["usage_id"],
        row["cost_nanos"],
        bool(row["late"]),
        timedelta(microseconds=row["wait_us"]),
        read_taken(row["taken"]),
        row["max_output_tokens"],
    )
