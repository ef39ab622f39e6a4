"""The contracts without their stubs: the same calls and event types, and other people's beside them."""

from pathlib import Path
from typing import Any

import pytest

from mesh import contracts, prose
from mesh.cli import eventing, schema
from mesh.cli.console import Code, Failure
from tests.support.compiled import compile_set, event


def test_it_says_what_the_stubs_say() -> None:
    """Every RPC with its comment, and every event type with its message and owner."""
    read = schema.load()
    known = contracts.methods()
    assert {name: rpc.description for name, rpc in read.rpcs.items()} == {
        name: prose.unwrapped(method.description) for name, method in known.items()
    }
    assert dict(read.events) == {name: (entry.message, entry.owner) for name, entry in contracts.catalogue().items()}


def test_what_a_call_is_about() -> None:
    """The variables of its REST path, in order; none where it has no route."""
    rpcs = schema.load().rpcs
    assert rpcs["tooloo.bus.v1.EventBus/GetDeadLetter"].places == ("subscription", "position")
    assert rpcs["tooloo.bus.v1.EventBus/Pull"].places == ()
    assert rpcs["tooloo.bus.v1.EventBus/ReadEvents"].places == ()


def test_other_peoples_events_are_decoded(tmp_path: Path) -> None:
    """A descriptor set beside ours; without it the event is shown by its size."""
    added = schema.load((str(compile_set(tmp_path, event("OrderPlaced", "order.placed"))),))
    assert added.events["order.placed"] == ("shop.v1.OrderPlaced", "shop")
    placed: Any = type(added.new("shop.v1.OrderPlaced"))(order_id="17")
    told: Any = added.new("tooloo.event.v1.Event")
    told.type, told.position = "order.placed", 3
    told.data.Pack(placed)
    assert eventing.data(added, told) == '{"orderId":"17"}'
    assert eventing.data(schema.load(), told) == "(4 bytes of shop.v1.OrderPlaced)"


@pytest.mark.parametrize("content", [None, b"no descriptor set"])
def test_a_set_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """It is a setting to correct."""
    path = tmp_path / "extra.binpb"
    if content:
        path.write_bytes(content)
    with pytest.raises(Failure, match=r"extra\.binpb") as caught:
        schema.load((str(path),))
    assert caught.value.exit_code == Code.USAGE
