"""The catalogue of events: names, owners, and that what was stored once can be read for ever."""

import json
import re

import pytest
from tooloo.event.v1 import event_pb2

from mesh import contracts
from mesh.catalogue import SERVICES
from mesh.contracts import EventType
from tests.contracts import golden

CATALOGUE = contracts.catalogue()
# past tense and states that do not end in "ed"
IRREGULAR = {"given", "sent", "dead", "stale", "burning", "unhealthy"}
# names that callers outside rely on
SEED = {
    "provider.selected": "provider",
    "budget.threshold_exceeded": "provider",
    "training.completed": "learning",
    "intent.classified": "orchestration",
    "context.indexed": "context",
}
HOW_TO_ADD = "run `python -m tests.contracts.golden` and commit the files it writes"


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_a_name_is_dotted_and_tells_what_has_happened(entry: EventType) -> None:
    """Lower case, dots between words, the last of them in the past tense."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9_]*)+", entry.type)
    last = re.split(r"[._]", entry.type)[-1]
    assert last.endswith("ed") or last in IRREGULAR


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_the_owner_is_the_service_whose_package_holds_the_message(entry: EventType) -> None:
    """Only it can publish the type, so only its contract may say what it holds."""
    assert entry.owner in {spec.name for spec in SERVICES}
    assert entry.message.startswith(f"tooloo.{entry.owner}.v1.")


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_an_event_says_what_it_is(entry: EventType) -> None:
    """The catalogue shows the message's comment, and the message has content of its own."""
    assert entry.description
    assert contracts.pool().FindMessageTypeByName(entry.message).fields


def test_no_message_and_no_name_is_used_twice() -> None:
    """A name is one message for ever."""
    declared = [
        f"{file.package}.{message.name}"
        for file in contracts.our_files()
        if file.name.endswith("_events.proto")
        for message in file.message_type
        if contracts.pool().FindMessageTypeByName(f"{file.package}.{message.name}").full_name
        in {entry.message for entry in CATALOGUE.values()}
    ]
    assert len(declared) == len(set(declared)) == len(CATALOGUE)


def test_the_seed_events_are_told_by_their_services() -> None:
    """Listeners outside know these names."""
    assert {name: CATALOGUE[name].owner for name in SEED} == SEED


@pytest.mark.parametrize("name", CATALOGUE)
def test_stored_events_are_read_as_they_were_meant(name: str) -> None:
    """The bytes in the repository are never written again, so a renumbered or renamed field shows here."""
    assert golden.bytes_file(name).exists(), f"{name} has no golden event: {HOW_TO_ADD}"
    event = event_pb2.Event.FromString(golden.bytes_file(name).read_bytes())
    assert golden.meaning(event) == json.loads(golden.meaning_file(name).read_text())


def test_no_stored_event_has_lost_its_type() -> None:
    """A type that was ever told stays in the contracts."""
    assert {path.stem for path in golden.FOLDER.glob("*.binpb")} <= set(CATALOGUE)
