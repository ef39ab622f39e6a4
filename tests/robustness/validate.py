"""The bus's promises as validators of the same names: each says what of a recorded run broke it (after etcd's watch guarantees)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.robustness.record import Handled, Publisher, Record, Wanted, Watch

_SHOWN = 5


def durable(record: Record) -> list[str]:
    """An acknowledged event is in the log, where the acknowledgement said; a floor told as written did not fall back."""
    log = {stored.position: stored.id for stored in record.log}
    lost = [
        f"event {event_id} was acknowledged at {position}, where {log.get(position)} stands"
        for publisher in record.publishers
        for ids, positions in publisher.acknowledged
        for event_id, position in zip(ids, positions, strict=True)
        if log.get(position) != event_id
    ]
    lost += [
        f"{position} was delivered again, though everything up to {floor} had been told as settled on disk"
        for membership in record.memberships
        for floor, position in membership.again
        if position <= floor
    ]
    return lost


def ordered(record: Record) -> list[str]:
    """One total order: positions grow by one, readers see them grow, publishers' and subjects' own order is kept."""
    positions = [stored.position for stored in record.log]
    found = [] if positions == list(range(1, len(positions) + 1)) else ["the log's positions are not 1, 2, 3, ..."]
    for publisher in record.publishers:
        found += [
            f"a publisher sent the event at {later} after the one at {sooner}" for sooner, later in _falls(_first_told(publisher))
        ]
    for watch in record.watches:
        found += [f"a follower was given {later} after {sooner}" for sooner, later in _falls(watch.positions)]
    subjects = {stored.position: stored.subject for stored in record.log}
    for membership in record.memberships:
        found += _out_of_order(membership.handled, subjects)
    return found


def unique(record: Record) -> list[str]:
    """No id stands in the log twice."""
    counts = Counter(stored.id for stored in record.log)
    return [f"event {event_id} is in the log {count} times" for event_id, count in counts.items() if count > 1]


def atomic(record: Record) -> list[str]:
    """A publish of many is there whole, side by side, or not at all."""
    log = {stored.id: stored.position for stored in record.log}
    broken = []
    for ids in (batch for publisher in record.publishers for batch in publisher.sent):
        positions = [log[event_id] for event_id in ids if event_id in log]
        if positions and positions != list(range(positions[0], positions[0] + len(ids))):
            broken.append(f"of a publish of {len(ids)} the log holds {positions}")
    return broken


def filtered(record: Record) -> list[str]:
    """Every reader got nothing but what its filter names, and a follower with a filter got all of that."""
    broken = []
    readers: list[tuple[Wanted, Sequence[int]]] = [(watch.wanted, watch.positions) for watch in record.watches]
    readers += [(each.wanted, [one.position for one in each.handled]) for each in record.memberships]
    for wanted, positions in readers:
        named = {stored.position for stored in record.log if stored in wanted}
        broken += [f"{position} is not what {wanted} names" for position in positions if position not in named]
    for watch in record.watches:
        named = {stored.position for stored in record.log if stored in watch.wanted and stored.position > watch.after}
        if len(named) < len(record.log) and (missing := sorted(named - set(watch.positions))):
            broken.append(f"{watch.wanted} names {len(missing)} events that were not given, e.g. {missing[:_SHOWN]}")
    return broken


def reliable(record: Record) -> list[str]:
    """No gap: every event that a subscription's filter names was handled or is a dead letter, and none is both lost and told."""
    broken = []
    for membership in record.memberships:
        named = {stored.position for stored in record.log if stored in membership.wanted}
        missing = sorted(named - membership.settled)
        if missing:
            broken.append(f"{len(missing)} events were never handled, e.g. {missing[:_SHOWN]}")
        broken += [
            f"{position} is a dead letter {count} times" for position, count in Counter(membership.dead).items() if count > 1
        ]
    return broken


def resumable(record: Record) -> list[str]:
    """A follower that came back missed nothing and got nothing twice."""
    broken = []
    for watch in record.watches:
        expected = [stored.position for stored in record.log if stored in watch.wanted and stored.position > watch.after]
        missing = sorted(set(expected) - set(watch.positions))
        twice = [position for position, count in Counter(watch.positions).items() if count > 1]
        if missing:
            broken.append(f"a follower of {watch.wanted} missed {len(missing)} events, e.g. {missing[:_SHOWN]}")
        if twice:
            broken.append(f"a follower of {watch.wanted} got {len(twice)} events twice, e.g. {twice[:_SHOWN]}")
    return broken


def bookmarkable(record: Record) -> list[str]:
    """What a progress message closed stays closed, and the bookmark reaches the end even where the filter matches nothing."""
    broken = []
    for watch in record.watches:
        broken += [f"{position} came after a progress of {progress}" for position, progress in _behind_progress(watch)]
        reached = watch.progress
        end = record.log[-1].position if record.log else 0
        if reached < end:
            broken.append(f"the bookmark of a follower of {watch.wanted} stands at {reached}, the log ends at {end}")
        if reached > end:
            broken.append(f"the bookmark of a follower of {watch.wanted} stands at {reached}, beyond the end {end}")
    return broken


def live(record: Record) -> list[str]:
    """No stream was silent for longer than heartbeat and outages explain, and its messages carry a head that never falls."""
    broken = []
    for watch in record.watches:
        if not watch.messages:
            broken.append(f"a follower of {watch.wanted} heard nothing at all")
        for before, after in pairwise(watch.messages):
            silence = after.at - before.at
            if silence > record.longest_silence:
                broken.append(f"a stream was silent for {silence:.1f} s; at most {record.longest_silence:.1f} s are explained")
            if after.head < before.head:
                broken.append(f"the head fell from {before.head} to {after.head}")
        broken += [
            f"the progress {one.progress} is beyond the head {one.head}" for one in watch.messages if one.progress > one.head
        ]
    return broken


PROMISES = (durable, ordered, unique, atomic, filtered, reliable, resumable, bookmarkable, live)


def broken_promises(record: Record) -> dict[str, list[str]]:
    """Every broken promise by name, with what was seen."""
    return {promise.__name__: found[:_SHOWN] for promise in PROMISES if (found := promise(record))}


def _first_told(publisher: Publisher) -> list[int]:
    """Where a publisher's events stand, in the order in which it sent each for the first time."""
    told: dict[str, int] = {}
    for ids, positions in publisher.acknowledged:
        for event_id, position in zip(ids, positions, strict=True):
            told.setdefault(event_id, position)
    return list(told.values())


def _falls(positions: Sequence[int]) -> list[tuple[int, int]]:
    return [(sooner, later) for sooner, later in pairwise(positions) if later <= sooner]


def _out_of_order(handled: Sequence[Handled], subjects: Mapping[int, str]) -> list[str]:
    """Within a subject the first handling of each event follows the log."""
    newest: dict[str, int] = {}
    broken = []
    for position in dict.fromkeys(one.position for one in handled):
        subject = subjects.get(position, "")
        if position < newest.get(subject, 0):
            broken.append(f"{position} of {subject} was first handled after {newest[subject]}")
        newest[subject] = max(position, newest.get(subject, 0))
    return broken


def _behind_progress(watch: Watch) -> Iterator[tuple[int, int]]:
    progress = watch.after
    for message in watch.messages:
        for position in message.positions:
            if position <= progress:
                yield position, progress
        progress = max(progress, message.progress)
