"""What tests of the dealer deal: a policy, and events at positions as a scan gives them."""

from array import array
from collections.abc import Iterable

from bus.deliveries import Policy
from bus.slices import Slice

POLICY = Policy(ack_deadline=10.0, backoff=(1.0, 5.0), max_deliveries=3, max_in_flight=6, order_by_subject=True)
# what any event is in these tests: the dealer never looks into one
EVENT = b"\x0a\x00"


def slice_of(positions: Iterable[int]) -> Slice:
    """Events at ascending positions, as a scan gives them."""
    found = list(positions)
    whole = found[-1] - found[0] + 1 == len(found)
    return Slice(range(found[0], found[-1] + 1) if whole else array("q", found), EVENT * len(found))
