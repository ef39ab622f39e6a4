"""The bus's C library against plain Python: cutting records, the window of ids, checksums."""

import random
from array import array
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishResponse
from tooloo.event.v1.event_pb2 import Event

from bus import native
from bus.native import ID_BYTES, IdWindow, NotARecordError
from tests.support import wire

EVENTS = st.lists(st.builds(Event, id=st.text(max_size=5), subject=st.text(max_size=200)), max_size=12)
TYPES = st.lists(st.integers(0, 5), max_size=40)
WANTED = st.none() | st.lists(st.booleans(), min_size=6, max_size=6).map(lambda flags: bytes(map(int, flags)))


def record(events: list[Event]) -> bytes:
    """Events as a record holds them."""
    return PublishRequest(events=events).SerializeToString()


def pieces(events: list[Event]) -> list[bytes]:
    """Each event as a record holds it."""
    return [record([event]) for event in events]


def packed(types: list[int]) -> bytes:
    """Type numbers as a record holds them."""
    return array("H", types).tobytes()


@given(EVENTS, st.integers(0, 14))
def test_events_are_found_where_they_begin(events: list[Event], skip: int) -> None:
    """Starts and offsets are those of the pieces; asking for more events than there are is refused."""
    parts = pieces(events)
    ends = [sum(map(len, parts[:count])) for count in range(len(parts) + 1)]
    assert native.event_starts(record(events), len(events)) == ends
    if skip <= len(events):
        assert native.event_offset(record(events), skip) == ends[skip]
    else:
        with pytest.raises(NotARecordError, match="less than"):
            native.event_offset(record(events), skip)
    for wrong in {len(events) + 1, max(0, len(events) - 1)} - {len(events)}:
        with pytest.raises(NotARecordError, match="no record of"):
            native.event_starts(record(events), wrong)


@given(EVENTS, st.integers(0, 600), st.integers(1, 14))
def test_events_within_a_number_of_bytes(events: list[Event], most: int, limit: int) -> None:
    """As many as fit, but one at least, however huge it is."""
    count = size = 0
    for part in pieces(events)[:limit]:
        if count and size + len(part) > most:
            break
        count, size = count + 1, size + len(part)
    assert native.events_within(record(events), most, limit) == (count, size)


@given(TYPES, st.integers(0, 45), WANTED)
def test_choosing_by_type(types: list[int], skip: int, wanted: bytes | None) -> None:
    """Wanted types from an index on; type 0, an event that is gone, never is."""
    expected = [at for at, kind in enumerate(types) if at >= skip and kind and (wanted is None or wanted[kind])]
    assert list(native.choose(packed(types), skip, wanted)) == expected
    assert native.holds_any(packed(types), wanted) is any(kind and (wanted is None or wanted[kind]) for kind in types)
    assert native.count_gone(packed(types)) == types.count(0)


@given(EVENTS, st.data())
def test_gathering_by_index(events: list[Event], data: st.DataObject) -> None:
    """The pieces at ascending indexes; an index beyond the record is refused."""
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(events))))) if events else [])
    parts = pieces(events)
    assert native.gather(record(events), array("I", chosen)) == b"".join(parts[index] for index in chosen)
    with pytest.raises(NotARecordError):
        native.gather(record(events), array("I", [*chosen, len(events)]))


@given(st.lists(st.integers(0, 2**63 - 1), max_size=40), st.integers(0, 2**63 - 41), st.integers(0, 40))
def test_packing_numbers(numbers: list[int], first: int, count: int) -> None:
    """As protobuf writes them, for neighbours and for others alike."""
    for values in (numbers, range(first, first + count)):
        packed_ = native.pack(values if isinstance(values, range) else array("q", values))
        field = PublishResponse(positions=values).SerializeToString()
        assert not values or field.endswith(packed_)
        assert len(field) - len(packed_) <= 3


@given(EVENTS, st.data())
def test_stamping_with_positions(events: list[Event], data: st.DataObject) -> None:
    """Each event reads as before, with its position, for neighbours and for gaps alike, up to the largest position."""
    first = data.draw(st.integers(1, 2**63 - 1 - 40))
    gaps = data.draw(st.lists(st.integers(1, 3), min_size=len(events), max_size=len(events)))
    scattered = array("q", [first + sum(gaps[:index]) for index in range(len(events))])
    for positions in (range(first, first + len(events)), scattered):
        stamped = PublishRequest.FromString(native.stamp(record(events), positions)).events
        assert [event.position for event in stamped] == list(positions)
        for event in stamped:
            event.ClearField("position")
        assert list(stamped) == events


@given(st.binary(max_size=60), st.integers(0, 4))
def test_what_is_no_record_is_refused_or_left(rubbish: bytes, count: int) -> None:
    """Whatever the bytes are, no function reads beyond them: it refuses, or gives what it found."""
    for ask in (
        lambda: native.event_starts(rubbish, count),
        lambda: native.event_offset(rubbish, count),
        lambda: native.gather(rubbish, array("I", range(count))),
        lambda: native.stamp(rubbish, array("q", range(count))),
    ):
        try:
            ask()
        except NotARecordError:
            continue
    fitting, size = native.events_within(rubbish, 30, count)
    assert fitting <= count
    assert size <= len(rubbish)


@pytest.mark.parametrize(
    "bad", [b"\x8a\x00\x00", b"\x0a\x80\x00", b"\x0a\x05abc", b"\x0a", b"\x12\x00", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_a_record_has_one_form(bad: bytes) -> None:
    """Tags and lengths in more bytes than they need, lengths beyond the end and other fields are no record."""
    with pytest.raises(NotARecordError):
        native.event_starts(bad, 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_known_vectors(data: bytes, expected: int) -> None:
    """Those of RFC 3720, appendix B.4, and the check value of the catalogue of CRCs."""
    assert native.crc32c(data) == native.crc32c_by_table(data) == expected


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_crc32c_is_the_same_by_instruction_table_and_parts(left: bytes, right: bytes) -> None:
    """Both ways agree at any length, and going on from a part is the whole."""
    whole = native.crc32c(left + right)
    assert whole == native.crc32c_by_table(left + right)
    assert whole == native.crc32c(right, native.crc32c(left)) == native.crc32c_by_table(right, native.crc32c_by_table(left))


@pytest.mark.parametrize("size", [3071, 3072, 3073, 3 * 3072 - 1, 3 * 3072, 3 * 3072 + 9, 100_003])
@pytest.mark.parametrize("offset", range(3))
def test_crc32c_in_lanes_is_the_same(size: int, offset: int) -> None:
    """Beyond three lanes of 1 KiB the instruction takes them side by side; wherever the bytes begin, whatever they are."""
    data = random.Random(size).randbytes(size + offset)[offset:]
    assert native.crc32c(data) == native.crc32c_by_table(data)
    assert native.crc32c(data, 0xDEADBEEF) == native.crc32c_by_table(data, 0xDEADBEEF)
    assert native.crc32c(bytes(size)) == native.crc32c_by_table(bytes(size))


def test_hand_made_varints_are_read_back() -> None:
    """The wire format of the tests agrees with protobuf's."""
    event = Event(id="x", position=300, subject="s")
    assert [number for number, _, _ in wire.fields_of(event.SerializeToString())] == [1, 4, 10]
    assert wire.field(1, b"x") + wire.field(4, b"s") + wire.number_field(10, 300) == event.SerializeToString()


# type numbers 1 and 2 share a source, 3 has one of its own
SOURCES = (0, 1, 1, 2)
Key = tuple[int, int]


class WindowMachine(RuleBasedStateMachine):
    """The window of ids against a dict from (id, source) to positions; fingerprints of 64 bits do not meet by chance."""

    @initialize()
    def begin(self) -> None:
        """An empty window."""
        self.window = IdWindow(SOURCES)
        self.model: list[tuple[int, Key]] = []
        self.head = self.floor = 0

    @rule(ids=st.lists(st.integers(0, 30), min_size=1, max_size=8), kind=st.integers(1, 3))
    def place(self, ids: list[int], kind: int) -> None:
        """All are remembered, or, when one is there already, none."""
        keys = [(number, SOURCES[kind]) for number in ids]
        standing = {key for position, key in self.model if position > self.floor}
        fresh = len(set(keys)) == len(keys) and not standing & set(keys)
        assert self.window.place(encoded(ids), packed([kind] * len(ids)), self.head + 1, self.floor) is fresh
        if fresh:
            self.remember(keys)

    @rule(ids=st.lists(st.integers(0, 30), min_size=1, max_size=8), kind=st.integers(1, 3))
    def add(self, ids: list[int], kind: int) -> None:
        """Remembered whatever is there."""
        self.window.add(encoded(ids), packed([kind] * len(ids)), self.head + 1, self.floor)
        self.remember([(number, SOURCES[kind]) for number in ids])

    @rule(count=st.integers(500, 3000))
    def grow(self, count: int) -> None:
        """Many more: the table grows."""
        first = 1000 + self.head
        ids = list(range(first, first + count))
        assert self.window.place(encoded(ids), packed([3] * count), self.head + 1, self.floor)
        self.remember([(number, SOURCES[3]) for number in ids])

    @rule(ids=st.lists(st.integers(0, 30), min_size=1, max_size=8), kind=st.integers(1, 3))
    def add_and_take_back(self, ids: list[int], kind: int) -> None:
        """A transaction that is undone leaves no trace."""
        types = packed([kind] * len(ids))
        self.window.add(encoded(ids), types, self.head + 1, self.floor)
        self.window.remove(encoded(ids), types, self.head + 1)

    @rule(by=st.integers(0, 2000))
    def raise_floor(self, by: int) -> None:
        """The oldest are forgotten."""
        self.floor = min(self.head, self.floor + by)

    @rule(number=st.integers(0, 31), kind=st.integers(1, 3), data=st.data())
    def find(self, number: int, kind: int, data: st.DataObject) -> None:
        """The newest position between floor and limit."""
        limit = data.draw(st.integers(0, self.head + 1))
        key = number, SOURCES[kind]
        expected = max((position for position, known in self.model if known == key and self.floor < position < limit), default=0)
        assert self.window.find(encoded([number]), kind, self.floor, limit) == expected

    @invariant()
    def it_counts(self) -> None:
        """What is beyond the floor is there, once for each position."""
        if hasattr(self, "window"):
            assert self.window.count(self.floor) == sum(position > self.floor for position, _ in self.model)

    def remember(self, keys: list[Key]) -> None:
        """The model's side of it."""
        self.model.extend((self.head + 1 + index, key) for index, key in enumerate(keys))
        self.head += len(keys)

    def teardown(self) -> None:
        """Gives the memory back."""
        if hasattr(self, "window"):
            self.window.close()


def encoded(ids: list[int]) -> bytes:
    """Ids as a record of keys holds them."""
    return b"".join(number.to_bytes(ID_BYTES, "big") for number in ids)


WindowMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
test_window = WindowMachine.TestCase


def test_the_same_id_of_another_source_is_another_event() -> None:
    """Uniqueness is by (source, id), whatever the type."""
    with closing(IdWindow(SOURCES)) as window:
        assert window.place(encoded([7]), packed([1]), 1, 0)
        assert not window.place(encoded([7]), packed([2]), 2, 0)
        assert window.place(encoded([7]), packed([3]), 2, 0)


def test_a_repeat_anywhere_in_a_long_publish_is_found() -> None:
    """Slots are asked for some events ahead; what stands before the repeat is forgotten again."""
    for repeated in (31, 32, 70, 99):
        with closing(IdWindow(SOURCES)) as window:
            window.make_room(10_000)
            ids = list(range(100))
            assert window.place(encoded([repeated]), packed([1]), 1, 0)
            assert not window.place(encoded(ids), packed([1] * 100), 2, 0)
            assert window.count(0) == 1
