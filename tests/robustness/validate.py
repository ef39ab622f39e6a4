"""The bus's promises as validators of the same names: each says what of a recorded run broke it (after etcd's watch guarantees)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Record:
    """What a run saw from outside."""

    # batches of ids as their publisher was told they are on disk: (ids, positions)
    acknowledged: list[tuple[list[str], list[int]]] = field(default_factory=list)
    # ids of batches that were sent, acknowledged or not
    sent: list[list[str]] = field(default_factory=list)
    # the log as it was read in the end: (position, id, subject)
    log: list[tuple[int, str, str]] = field(default_factory=list)
    # positions as a follower that resumed got them
    followed: list[int] = field(default_factory=list)
    # positions as the members of one subscription handled them, each handling in its order
    handled: list[int] = field(default_factory=list)


def durable(record: Record) -> list[str]:
    """An acknowledged event is in the log, where the acknowledgement said."""
    log = {position: event_id for position, event_id, _ in record.log}
    return [
        f"event {event_id} was acknowledged at {position}, where {log.get(position)} stands"
        for ids, positions in record.acknowledged
        for event_id, position in zip(ids, positions, strict=True)
        if log.get(position) != event_id
    ]


def ordered(record: Record) -> list[str]:
    """Positions grow by one; a publisher's acknowledged batches stand in the order in which it sent them."""
    positions = [position for position, _, _ in record.log]
    found = [] if positions == list(range(1, len(positions) + 1)) else ["the log's positions are not 1, 2, 3, ..."]
    return found + [f"positions {batch} of one publish do not grow" for _, batch in record.acknowledged if batch != sorted(batch)]


def unique(record: Record) -> list[str]:
    """No id stands in the log twice."""
    counts = Counter(event_id for _, event_id, _ in record.log)
    return [f"event {event_id} is in the log {count} times" for event_id, count in counts.items() if count > 1]


def atomic(record: Record) -> list[str]:
    """A publish of many is there whole, side by side, or not at all."""
    log: Mapping[str, int] = {event_id: position for position, event_id, _ in record.log}
    broken = []
    for ids in record.sent:
        positions = [log[event_id] for event_id in ids if event_id in log]
        if positions and positions != list(range(positions[0], positions[0] + len(ids))):
            broken.append(f"of a publish of {len(ids)} the log holds {positions}")
    return broken


def resumable(record: Record) -> list[str]:
    """A follower that came back missed nothing and got nothing twice."""
    expected = list(range(1, len(record.log) + 1))
    return [] if record.followed == expected else [_difference("followed", record.followed, expected)]


def reliable(record: Record) -> list[str]:
    """Every event was handled, however often members and server died."""
    missing = sorted({position for position, _, _ in record.log} - set(record.handled))
    return [f"{len(missing)} events were never handled, e.g. {missing[:5]}"] if missing else []


def in_order_of_subject(record: Record) -> list[str]:
    """Within a subject the first handling of each event follows the log."""
    subjects = {position: subject for position, _, subject in record.log}
    newest: dict[str, int] = {}
    broken = []
    for position in dict.fromkeys(record.handled):
        subject = subjects[position]
        if position < newest.get(subject, 0):
            broken.append(f"{position} of {subject} was first handled after {newest[subject]}")
        newest[subject] = max(position, newest.get(subject, 0))
    return broken


PROMISES = (durable, ordered, unique, atomic, resumable, reliable, in_order_of_subject)


def broken_promises(record: Record) -> dict[str, list[str]]:
    """Every broken promise by name, with what was seen."""
    return {promise.__name__: found[:5] for promise in PROMISES if (found := promise(record))}


def _difference(what: str, seen: Sequence[int], expected: Sequence[int]) -> str:
    missing = sorted(set(expected) - set(seen))
    twice = len(seen) - len(set(seen))
    return f"{what}: {len(missing)} missing, e.g. {missing[:5]}; {twice} twice; in order: {list(seen) == sorted(seen)}"
