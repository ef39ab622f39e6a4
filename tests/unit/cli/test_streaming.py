"""Streams that tell progress: which ones do, what is printed of them, and what stands beside the bar."""

import json
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mesh.cli import progress, schema, streaming
from mesh.cli.console import Console, Failure

SCHEMA = schema.load()
INDEX = SCHEMA.rpcs["tooloo.context.v1.ContextService/IndexRepository"]


def answer(**fields: Any) -> Any:
    """A message of the stream."""
    return type(SCHEMA.new(INDEX.response))(**fields)


def printed(console: Console, rpc: schema.Rpc, answers: list[Any]) -> str:
    """What stands on stdout."""

    @click.command
    def command() -> None:
        streaming.show(console, SCHEMA, rpc, lambda: iter(answers))

    done = CliRunner().invoke(command)
    assert done.exit_code == 0, done.output
    return done.stdout


RUN = [
    answer(progress={"phase": "reading", "done": 1, "total": 2}),
    answer(progress={"phase": "publishing"}, result={"added_files": 2}),
]


def test_a_stream_with_progress_is_known_by_a_type() -> None:
    """In whichever field and of whichever service; a list of them is no progress of the call."""
    assert streaming.progress_field(INDEX.response) == "progress"
    others = [rpc for rpc in SCHEMA.rpcs.values() if streaming.progress_field(rpc.response)]
    assert all(rpc.method.server_streaming for rpc in others)
    assert streaming.progress_field(SCHEMA.rpcs["tooloo.orchestration.v1.OrchestrationService/WatchRun"].response) == ""


def test_people_read_what_came_of_it() -> None:
    """Nothing of the progress, nor of an error that the call ends with anyway."""
    said = printed(Console(), INDEX, [*RUN, answer(error={"code": 8, "message": "too large"})])
    assert said.startswith("result:\n  added_files: 2")
    assert "reading" not in said
    assert "too large" not in said


def test_programs_get_every_message() -> None:
    """A line of JSON each."""
    first, last = map(json.loads, printed(Console(json=True), INDEX, RUN).splitlines())
    assert (first["progress"]["phase"], last["result"]["addedFiles"]) == ("reading", "2")


def test_a_stream_without_progress_is_printed_as_it_comes() -> None:
    """Every message, separated."""
    watch = SCHEMA.rpcs["tooloo.orchestration.v1.OrchestrationService/WatchRun"]
    message = type(SCHEMA.new(watch.response))
    assert printed(Console(), watch, [message(final=False), message(final=True)]) == "final: false\n---\nfinal: true\n"


class Breaking:
    """A stream that breaks with a failure after its first message, as often as it is told; then all of the run comes."""

    def __init__(self, failure: Failure, times: int) -> None:
        self.failure = failure
        self.left = times
        self.asked = 0

    def __call__(self) -> Iterator[Any]:
        """Asks for it."""
        self.asked += 1
        if not self.left:
            yield from RUN
            return
        self.left -= 1
        yield RUN[0]
        raise self.failure


BROKEN = Failure("the stream broke", detail={"code": "UNAVAILABLE"})


def test_a_stream_that_breaks_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same request, so the work is joined; what came of it is printed once."""
    monkeypatch.setattr(streaming, "_PAUSE", 0)
    stream = Breaking(BROKEN, 2)
    streaming.show(Console(), SCHEMA, INDEX, stream)
    assert stream.asked == 3
    assert capsys.readouterr().out.count("added_files: 2") == 1


@pytest.mark.parametrize(
    ("failure", "times", "asked"),
    [(BROKEN, 9, 5), (Failure("refused", detail={"code": "UNAVAILABLE", "reason": "DEPENDENCY_UNAVAILABLE"}), 1, 1)],
)
def test_not_for_ever_and_not_what_was_refused(monkeypatch: pytest.MonkeyPatch, failure: Failure, times: int, asked: int) -> None:
    """The failure is that of the last time."""
    monkeypatch.setattr(streaming, "_PAUSE", 0)
    stream = Breaking(failure, times)
    with pytest.raises(Failure) as raised:
        streaming.show(Console(), SCHEMA, INDEX, stream)
    assert raised.value is failure
    assert stream.asked == asked


@pytest.mark.parametrize(
    ("done", "total", "said"),
    [(12, 60, "12/60 files"), (12, None, "12 files"), (12, 0, "12 files"), (0, None, ""), (0, 60, "0/60 files")],
)
def test_the_amount_beside_a_bar(done: float, total: float | None, said: str) -> None:
    """A total that is not known is not made up."""
    assert progress.amount(done, total, "files") == said
