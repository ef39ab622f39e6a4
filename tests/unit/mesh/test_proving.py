"""Every service can be proven by a read that the rule finds in its contract, and one that does not answer is named."""

from typing import Any, cast

import pytest

from mesh.catalogue import SERVICES, ServiceSpec
from mesh.cli import proving
from mesh.cli.calling import Caller
from mesh.cli.console import Failure
from mesh.cli.schema import Rpc, load


class Answering:
    """Answers every call with an empty message, but for services that it was told of."""

    def __init__(self, **codes: str) -> None:
        self.schema = load()
        self.asked: list[str] = []
        self._codes = codes

    def unary(self, rpc: Rpc, request: Any) -> Any:
        """An answer or a refusal."""
        self.asked.append(rpc.name)
        for service, code in self._codes.items():
            if f".{service}." in rpc.name:
                raise Failure(f"{code}: as told", detail={"code": code})
        return self.schema.new(rpc.response)

    def call(self, name: str, /, **fields: Any) -> Any:
        """An empty answer."""
        return self.schema.new(self.schema.rpcs[name].response)


@pytest.mark.parametrize("spec", SERVICES, ids=lambda spec: spec.name)
def test_each_service_has_a_read_that_changes_nothing(spec: ServiceSpec) -> None:
    """None of them has a field in its path, streams, or is anything but a GET."""
    found = proving.reads(load(), spec)
    assert found
    for rpc in found:
        assert not rpc.places
        assert not rpc.method.server_streaming


def test_the_service_that_fails_is_named() -> None:
    """Those before it were asked; that one needs a field is an answer."""
    caller = Answering(provider="INVALID_ARGUMENT", analytics="INTERNAL")
    proven: list[str] = []
    with pytest.raises(proving.NotProvenError, match=r"analytics.*INTERNAL: as told"):
        proven.extend(proof.service for proof in proving.prove(cast(Caller, caller)))
    asked = [name.split(".")[1] for name in caller.asked]
    assert list(dict.fromkeys(asked)) == ["bus", "learning", "provider", "orchestration", "analytics"]
    assert asked.count("learning") == 1
    assert asked.count("provider") == len(proving.reads(load(), next(each for each in SERVICES if each.name == "provider")))


def test_a_bus_that_holds_no_event_is_not_proven() -> None:
    """The process manager tells of each process that gets ready: something does not pass the events on."""
    with pytest.raises(proving.NotProvenError, match="bus: no event was ever published"):
        list(proving.prove(cast(Caller, Answering())))
