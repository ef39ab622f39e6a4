"""Somebody adds a seventh service, then an event to it: two pages of docs/how-to, step by step, in a copy of the checkout."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.journeys import steps
from tests.support import checkout, shown
from tests.support.mesh import NAMES, ROOT, Mesh, eventually

PAGE = (ROOT / "docs" / "how-to" / "add-a-service.md").read_text()
NEXT_PAGE = (ROOT / "docs" / "how-to" / "add-an-event.md").read_text()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files and changes of both pages made and their commands run, which end with their tests."""
    folder = tmp_path_factory.mktemp("copy")
    checkout.copy_to(folder)
    checkout.write(folder, shown.files(PAGE))
    _run_commands(folder, PAGE)
    for patch in shown.patches(NEXT_PAGE):
        checkout.apply(folder, patch)
    checkout.write(folder, shown.files(NEXT_PAGE))
    _run_commands(folder, NEXT_PAGE)
    return folder


def _run_commands(folder: Path, page: str) -> None:
    """Runs the one block of commands of a page, the last of which is its tests."""
    (commands,) = [command for command, answer in shown.steps(page) if answer is None]
    # a plugin of the fuzz tests, which takes longer to load than these tests take to run
    assert " passed" in checkout.shell(folder, commands, PYTEST_ADDOPTS="-p no:schemathesis")


@pytest.fixture(scope="module")
def seven(copy: Path) -> Iterator[Mesh]:
    """A mesh of the copy."""
    mesh = Mesh(copy / "var", checkout.environment(copy), root=copy, services=(*NAMES, "notes"))
    mesh.start()
    try:
        yield mesh
    finally:
        mesh.close()


def test_the_page_edits_no_file_that_was_there() -> None:
    """Everything that a service needs is in files of its own."""
    assert [name for name in shown.files(PAGE) if (ROOT / name).exists()] == []


async def test_the_new_service_answers_as_the_page_says(copy: Path, seven: Mesh) -> None:
    """By REST through the door and on a port of its own, by gRPC, by the command, and on the bus."""
    steps_shown = list(shown.dialogues(PAGE))
    assert len(steps_shown) >= 5
    tooloo = f"{sys.executable} -m mesh.cli --door {seven.target}"
    for command, expected in steps_shown:
        here = command.replace("localhost:3000", seven.target).replace(".venv/bin/tooloo", tooloo)
        # what the other tests here wrote is no part of the page
        here = here.replace("filter.types=note.*", "filter.types=note.*&filter.subjectPrefix=users/ada/")
        shown.answered(expected, partial(checkout.shell, copy, here), command)
    assert checkout.shell(copy, f"{sys.executable} call_notes.py", TOOLOO_DOOR=seven.target) == "read about #Monads ['monads']\n"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{seven.ports['notes']}", timeout=60) as own:
        assert len((await steps.get(own, "notes", user_id="ada"))["notes"]) == 1


async def test_it_hears_what_another_service_tells(seven: Mesh) -> None:
    """A training that is completed becomes a note, whose event names what caused it."""
    async with seven.rest() as client:
        await steps.train(client, "grace", "sql", [1.0])
        found = await eventually(lambda: steps.get(client, "notes", user_id="grace"), lambda answer: answer["notes"])
        assert found["notes"][0]["text"] == "Completed a #training of sql, mean score 1.00"
    (completed,) = await steps.told(seven, "training.completed", userId="grace")
    (added,) = await steps.told(seven, "note.added", userId="grace")
    assert added["causationId"] == completed["id"]


async def test_what_it_acknowledged_outlives_kill_9(seven: Mesh) -> None:
    """Killed right after its answer; the supervisor starts it again with all of its notes."""
    async with seven.rest() as client:
        texts = [f"note {number}" for number in range(20)]
        for text in texts:
            await steps.post(client, "notes/add", {"userId": "linus", "text": text})
        await steps.kill_and_await(seven, "notes")
        found = await eventually(lambda: steps.get(client, "notes", user_id="linus"), bool)
        assert [note["text"] for note in found["notes"]] == texts[::-1]


async def test_what_the_page_says_came_by_itself_is_there(seven: Mesh) -> None:
    """OpenAPI, health, catalogue and settings know it without another line."""
    async with seven.rest() as client:
        document = (await client.get("/openapi.json")).json()
        assert document["paths"]["/api/v1/notes/add"]["post"]["x-grpc-method"] == "tooloo.notes.v1.NotesService/AddNote"
        health = (await client.get("/health")).json()
        assert "notes" in {each["service"] for each in health["services"]}
        catalogue = await steps.get(client, "events/catalogue")
        assert "note.added" in {each["type"] for each in catalogue["eventTypes"]}


def test_the_reference_has_a_page_for_it(copy: Path) -> None:
    """With its calls, its verbs, its event and its setting."""
    asked = (
        "from gateway.handbook import calls, commands, events; from gateway import reference; from mesh.catalogue import service;"
        "print(calls.page(service('notes')), commands.pages()['reference/verbs/notes.md'], events.page({}), reference.reference())"
    )
    said = checkout.shell(copy, f'{sys.executable} -c "{asked}"')
    for name in (
        "# Notes Service",
        "`POST /api/v1/notes/add`",
        "`tooloo notes add-note`",
        "`note.limit_reached`",
        "TOOLOO_NOTES_MAX_NOTES",
    ):
        assert name in said


async def test_the_event_of_the_next_page_is_told(copy: Path, seven: Mesh) -> None:
    """It is in the catalogue of the mesh that runs, with its comment and its owner."""
    async with seven.rest() as client:
        catalogue = await steps.get(client, "events/catalogue")
    (added,) = [each for each in catalogue["eventTypes"] if each["type"] == "note.limit_reached"]
    assert (added["owner"], added["message"]) == ("notes", "tooloo.notes.v1.NoteLimitReached")
