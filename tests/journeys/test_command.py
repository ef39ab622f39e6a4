"""The command `tooloo` on a running mesh: its verbs answer, its JSON parses, its exit codes are what is documented."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh import contracts
from mesh.catalogue import SERVICES, ServiceSpec
from mesh.cli import app as root
from mesh.cli import schema
from mesh.cli.console import Code
from mesh.cli.groups import ServiceGroup
from mesh.ruling import sayings
from tests.support.mesh import Mesh

# as `make` wrote it into the environment that runs this
TOOLOO = Path(sys.executable).parent / "tooloo"
Run = Callable[..., tuple[int, str, str]]
# these start and stop whole meshes, so they are tested with meshes of their own
_ELSEWHERE = {"up", "down", "doctor", "backup", "restore", "start-guaranteed"}
_SECONDS = 120


@pytest.fixture
def run(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line in this process against the mesh: exit code, stdout, stderr."""

    def line(*words: str) -> tuple[int, str, str]:
        code = root.app.run(["--door", mesh.target, *words])
        out, err = capsys.readouterr()
        return code, out, err

    return line


def process(mesh: Mesh, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command line as a process of its own, in a folder that is not the checkout."""
    return subprocess.run(
        [TOOLOO, *words], cwd="/", env=mesh.env, capture_output=True, text=True, timeout=_SECONDS, check=False, **options
    )


@contextmanager
def running(mesh: Mesh, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until the block ends."""
    with subprocess.Popen(
        [TOOLOO, *words], cwd="/", env=mesh.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def publish(run: Run, user: str) -> int:
    """Publishes an event about a user and gives its position."""
    code, out, err = run("events", "publish", "training.started", f"user_id={user}", "--subject", f"users/{user}", "--json")
    assert code == Code.DONE, err
    return int(json.loads(out)["positions"][0])


def _asks_for_nothing(rpc: schema.Rpc) -> bool:
    """A call that changes nothing, needs nothing and ends by itself."""
    method = contracts.methods()[rpc.name]
    reads = method.http is not None and method.http.verb == "GET" and method.unary
    return reads and not any("required" in sayings(field) for field in rpc.request.fields)


@pytest.mark.parametrize("spec", SERVICES, ids=lambda spec: spec.name)
def test_every_verb_that_needs_nothing_answers(run: Run, spec: ServiceSpec) -> None:
    """In every group; what it prints for programs parses, what it prints for people is there."""
    verbs = {name: rpc for name, rpc in ServiceGroup(spec).verbs.items() if _asks_for_nothing(rpc)}
    answered = 0
    for name, rpc in verbs.items():
        code, out, err = run(spec.name, name, "--json")
        assert code in {Code.DONE, Code.REFUSED}, err
        if code == Code.DONE:
            assert json.loads(out) is not None
            answered += 1
        else:
            assert json.loads(err)["error"]["reason"], f"{rpc.name}: {err}"
        assert run(spec.name, name)[0] == code
    # a service whose every call names something is asked for nothing here
    assert answered or not verbs or spec.name == "integration"


def test_a_proxy_of_the_environment_is_passed_by(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh on this machine is asked itself, on a machine too that reaches the world by a proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert run("call", "GetHealth")[0] == Code.DONE


_BUILT_IN = {
    "status": [],
    "call": ["GetHealth"],
    "events": ["lag"],
    "logs": ["--tail", "3"],
    "restart": ["analytics"],
    "start": ["analytics"],
    "scale": ["analytics=1"],
    "open": ["calls"],
    "completion": ["bash"],
}


def test_every_built_in_is_tested() -> None:
    """A new command file needs a line here, or tests of its own."""
    assert set(root.command_files()) - _ELSEWHERE - {"stop"} == set(_BUILT_IN)


@pytest.mark.parametrize("words", [[name, *rest] for name, rest in _BUILT_IN.items()], ids=lambda words: words[0])
def test_every_built_in_speaks_json(run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """One value on stdout and nothing on stderr."""
    monkeypatch.delenv("DISPLAY", raising=False)
    code, out, err = run(*words, "--json")
    assert (code, err) == (Code.DONE, "")
    assert json.loads(out) is not None


def test_a_verb_selects(run: Run) -> None:
    """Options with types, a short verb, an answer for people with the rest as a table."""
    code, out, _ = run("provider", "select", "--query", "Explain decorators", "--estimated-tokens", "500", "--strategy", "cheapest")
    assert code == Code.DONE
    assert "strategy: cheapest" in out
    assert "PROVIDER_ID" in out


def test_exit_codes(mesh: Mesh) -> None:
    """As processes: done, refused, wrong usage, nothing there."""
    assert process(mesh, "status").returncode == Code.DONE
    assert process(mesh, "learning", "start", "user_id=ada", "focus_area=python", "round_count=1000").returncode == Code.REFUSED
    assert process(mesh, "learning", "start", "rounds=1").returncode == Code.USAGE
    elsewhere = process(mesh, "status", "--door", "127.0.0.1:9")
    assert elsewhere.returncode == Code.UNREACHABLE
    assert f"tooloo --door {mesh.target}" in elsewhere.stderr


def test_status_shows_the_memory_of_every_process(run: Run) -> None:
    """The process manager's own too."""
    rows = {row["service"]: row["memory"] for row in json.loads(run("status", "--json")[1])}
    assert set(rows) == {spec.name for spec in SERVICES} | {"envoy"}
    assert min(rows.values()) > 2**20


def test_logs_of_a_service_that_there_is_not(run: Run) -> None:
    """A typing mistake is no silence, nor waited for."""
    for words in (["logs", "lerning"], ["logs", "lerning", "-f"]):
        code, out, err = run(*words)
        assert (code, out) == (Code.USAGE, "")
        assert "'lerning'" in err


def test_a_service_that_does_not_run(run: Run) -> None:
    """Status finds the fault, a call of it says so, starting it mends both."""
    assert run("stop", "context", "--json")[0] == Code.DONE
    try:
        code, out, _ = run("status", "--json")
        assert code == Code.FAULT
        assert {row["service"]: row["state"] for row in json.loads(out)}["context"] == "stopped"
        code, _, err = run("context", "list-repositories")
        assert code == Code.UNREACHABLE
        assert "tooloo status" in err
    finally:
        assert run("start", "context")[0] == Code.DONE
    assert run("status")[0] == Code.DONE


def test_a_refusal_for_people_and_for_programs(mesh: Mesh) -> None:
    """Code, reason, the field with what is wrong, and the next step; nothing on stdout."""
    words = ("call", "StartTraining", '{"userId": "ada", "focusArea": "python", "roundCount": 1000}')
    told = process(mesh, *words)
    assert told.stdout == ""
    assert "INVALID_ARGUMENT INVALID_FIELD" in told.stderr
    assert "round_count" in told.stderr
    assert "tooloo call StartTraining --help" in told.stderr
    error = json.loads(process(mesh, *words, "--json").stderr)["error"]
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert error["status"]["details"]


@pytest.mark.parametrize("no_color", [False, True])
def test_color_is_for_terminals(mesh: Mesh, no_color: bool) -> None:
    """A real one gets it, unless NO_COLOR is set; that pipes get none is what every other test here stands on."""
    env = {name: value for name, value in mesh.env.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    env |= {"NO_COLOR": "1"} if no_color else {}
    ours, theirs = pty.openpty()
    with subprocess.Popen([TOOLOO, "events", "read", "--limit", "1"], cwd="/", env=env, stdout=theirs, stderr=theirs) as reading:
        os.close(theirs)
        seen = b"".join(iter(lambda: _more(ours), b""))
        assert reading.wait(_SECONDS) == Code.DONE
    os.close(ours)
    assert b"service.started" in seen
    assert (b"\x1b[" in seen) is not no_color


def on_a_terminal(mesh: Mesh, output: Path, *words: str) -> str:
    """What a command writes to a terminal as its stderr, while its stdout goes to a file."""
    ours, theirs = pty.openpty()
    with (
        output.open("w") as file,
        subprocess.Popen(
            [TOOLOO, *words], cwd="/", env=mesh.env | {"TERM": "xterm"}, stdin=theirs, stdout=file, stderr=theirs
        ) as started,
    ):
        os.close(theirs)
        seen = b"".join(iter(lambda: _more(ours), b""))
        assert started.wait(_SECONDS) == Code.DONE, seen
    os.close(ours)
    return seen.decode()


def _more(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # how a terminal says that nobody writes to it any more
        return b""


def test_what_takes_long_has_a_bar(mesh: Mesh, run: Run, tmp_path: Path) -> None:
    """Indexing and reading the whole log: a bar on the terminal, the answer alone in the file; without a terminal no bar."""
    words = ("context", "index", "--path", "mesh/cli", "--repo-id", "the-command")
    seen = on_a_terminal(mesh, tmp_path / "indexed", *words)
    assert "━" in seen
    assert "publishing" in seen
    indexed = (tmp_path / "indexed").read_text()
    assert indexed.startswith("result:\n  repository:\n    repo_id: the-command")
    assert not any(word in indexed for word in ("━", "phase", "\x1b"))
    code, out, err = run(*words, "--json")
    assert (code, err) == (Code.DONE, "")
    messages = [json.loads(line) for line in out.splitlines()]
    assert messages[0]["progress"]["unit"] == "files"
    assert int(messages[-1]["result"]["unchangedFiles"]) > 0
    # what was indexed is told a moment after the answer
    _listed(run, 2, "events", "read", "--subject", "repositories/the-command", "--type", "context.indexed")
    assert "events" in on_a_terminal(mesh, tmp_path / "events", "events", "read", "--all", "--json")
    events = json.loads((tmp_path / "events").read_text())
    assert [event["type"] for event in events if event["subject"] == "repositories/the-command"] == ["context.indexed"] * 2


def test_a_subscription_hears_again(run: Run) -> None:
    """A service's catches up and says so; a paused one is moved, and not waited for; nobody is asked where nobody can answer."""
    position = publish(run, "replayed")
    code, _, err = run("events", "replay", "analytics", "--from-beginning")
    assert code == Code.USAGE
    assert "--yes" in err
    code, out, _ = run("events", "replay", "analytics", "--after", str(position - 1), "--yes", "--json")
    assert code == Code.DONE
    told = json.loads(out)
    assert told["caughtUp"]
    assert told["headPosition"] >= position
    shown = json.loads(run("bus", "get-subscription", "analytics", "--json")[1])["subscription"]
    assert int(shown["ackFloor"]) >= told["headPosition"]
    assert run("bus", "create", "--subscription.name", "rewound")[0] == Code.DONE
    try:
        assert run("bus", "pause", "rewound")[0] == Code.DONE
        code, out, err = run("events", "replay", "rewound", "--from-beginning", "--yes")
        assert (code, out.split(";")[0]) == (Code.DONE, "rewound was moved")
        assert "tooloo bus resume rewound" in err
        shown = json.loads(run("bus", "get-subscription", "rewound", "--json")[1])["subscription"]
        assert int(shown["backlog"]) >= position
    finally:
        assert run("bus", "delete", "--name", "rewound")[0] == Code.DONE
    assert run("events", "replay", "rewound", "--from-beginning", "--yes")[0] == Code.REFUSED


def test_scaling_and_what_cannot_be_scaled(run: Run) -> None:
    """Two replicas and back; the bus runs once."""
    try:
        code, out, _ = run("scale", "context=2", "--json")
        assert code == Code.DONE
        assert json.loads(out)["services"][0]["servingReplicas"] == 2
    finally:
        assert run("scale", "context=1")[0] == Code.DONE
    code, _, err = run("scale", "bus=2")
    assert code == Code.REFUSED
    assert "NOT_SCALABLE" in err


def test_events_are_published_and_read(run: Run, tmp_path: Path) -> None:
    """By type and fields, as a CloudEvent from a file, with filters; the data is the event's own message."""
    position = publish(run, "reader")
    code, out, _ = run(
        "events", "read", "--type", "training.*", "--subject", "users/reader", "--after", str(position - 1), "--json"
    )
    assert code == Code.DONE
    (event,) = json.loads(out)
    assert (event["source"], event["data"]["userId"]) == ("learning", "reader")
    cloud_event = {
        "specversion": "1.0", "id": "01a215ae-9a65-717e-ba32-c1cabdd50a2c", "type": "training.started", "source": "learning",
        "subject": "users/reader", "time": "2026-11-26T08:00:00Z", "data": {"userId": "reader"},
    }  # fmt: skip
    (tmp_path / "event.json").write_text(json.dumps(cloud_event))
    assert run("events", "publish", f"@{tmp_path / 'event.json'}")[0] == Code.DONE
    found = run("events", "read", "--cel", "data.user_id == 'reader'", "--last", "1")[1]
    assert "training.started" in found
    assert '{"userId":"reader"}' in found


def test_following_goes_on_over_a_killed_bus(mesh: Mesh, run: Run) -> None:
    """Events before and after a `kill -9` of the bus, each once."""
    first = publish(run, "follower")
    with running(
        mesh, "events", "follow", "--subject", "users/follower", "--from", str(first), "--count", "2", "--json"
    ) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["position"] == str(first)
        bus = next(
            each for each in json.loads(run("system", "list-processes", "--json")[1])["processes"] if each["service"] == "bus"
        )
        os.kill(bus["pid"], signal.SIGKILL)
        second = _publish_when_it_is_back(run)
        assert json.loads(following.stdout.readline())["position"] == str(second)
        assert following.wait(_SECONDS) == Code.DONE
        assert following.stdout.read() == ""


def _publish_when_it_is_back(run: Run) -> int:
    for _ in range(10 * _SECONDS):
        try:
            return publish(run, "follower")
        except AssertionError:
            time.sleep(0.1)
    raise AssertionError("the bus did not come back")


def test_interrupted(mesh: Mesh, run: Run) -> None:
    """Ctrl-C ends what follows with 130 and no traceback."""
    position = publish(run, "interrupted")
    with running(mesh, "events", "follow", "--from", str(position), "--json") as following:
        assert following.stdout is not None
        following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=_SECONDS)
        assert following.returncode == Code.INTERRUPTED
        assert "Traceback" not in err


def test_a_stream_of_requests_from_stdin(mesh: Mesh) -> None:
    """A line of JSON each; each answer is a line as it comes."""
    event = {
        "type": "training.started", "source": "learning", "subject": "users/stream", "time": "2026-11-26T08:00:00Z",
        "data": {"@type": "type.googleapis.com/tooloo.learning.v1.TrainingStarted", "userId": "stream"},
    }  # fmt: skip
    lines = [
        json.dumps({"sequence": number, "events": [event | {"id": f"01a215ae-9a65-717e-ba32-c1cabdd50a2{number}"}]})
        for number in (1, 2)
    ]
    done = process(mesh, "call", "PublishStream", "-", "--json", input="\n".join(lines))
    assert done.returncode == Code.DONE, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["sequence"] == "2"
    broken = process(mesh, "call", "PublishStream", "-", input=f"{lines[0]}\nno json\n")
    assert broken.returncode == Code.USAGE
    assert "a line of stdin is not JSON" in broken.stderr


def test_a_body_that_is_no_message(run: Run) -> None:
    """The OpenAPI document is JSON as it is; the metrics are text, and text in JSON for programs."""
    assert json.loads(run("system", "get-open-api")[1])["openapi"].startswith("3.1")
    assert run("bus", "get-bus-metrics")[1].startswith("# ")
    assert json.loads(run("bus", "get-bus-metrics", "--json")[1])["data"].startswith("# ")


def test_a_dead_letter_from_its_death_to_its_end(mesh: Mesh, run: Run) -> None:
    """A subscription whose expression fails on an event parks it; it is listed, shown, redriven, pulled, and gone."""
    # Its subject alone: the mesh tells of itself at any time, and an event without a round count would be parked as well.
    where = ("--subscription.filter.cel", "10 / data.round_count > 1", "--subscription.filter.subject-prefix", "users/divided")
    assert run("bus", "create", "--subscription.name", "divides", *where)[0] == Code.DONE
    try:
        publish(run, "somebody-else")
        position = publish(run, "divided")
        assert _pulled(mesh, lambda _: _dead_letters(run)) == []
        (letter,) = _dead_letters(run)
        assert (letter["position"], letter["reason"]) == (position, "filter_failed")
        code, out, _ = run("events", "dead", "show", "divides", str(position))
        assert code == Code.DONE
        assert "user_id: divided" in out
        assert run("events", "dead", "redrive", "divides", str(position))[1] == "1 given out again\n"
        assert _dead_letters(run) == []
        assert _pulled(mesh, bool) == [str(position)]
        assert run("events", "dead", "drop", "divides", "--all")[0] == Code.USAGE
        assert run("events", "dead", "drop", "divides", "--all", "--yes")[1] == "0 dropped\n"
    finally:
        assert run("bus", "delete", "--name", "divides")[0] == Code.DONE
    code, _, err = run("events", "dead", "redrive", "divides", "--all")
    assert code == Code.REFUSED
    assert "NOT_FOUND" in err


def _pulled(mesh: Mesh, enough: Callable[[list[str]], object]) -> list[str]:
    """What the subscription gives out to one who pulls until it is enough: whoever says no more is left with what came by then."""
    opening = json.dumps({"subscription": "divides", "creditEvents": 10})
    for _ in range(_SECONDS):
        answers = map(json.loads, process(mesh, "call", "Pull", "-", "--json", input=opening).stdout.splitlines())
        positions = [each for answer in answers for each in answer["positions"]]
        if enough(positions):
            return positions
    raise AssertionError("nothing came")


def _dead_letters(run: Run) -> list[dict[str, Any]]:
    """The dead letters of the subscription."""
    found: list[dict[str, Any]] = json.loads(run("events", "dead", "list", "divides", "--json")[1])
    return found


def _listed(run: Run, count: int, *words: str) -> list[dict[str, Any]]:
    """What a command lists, once there are so many."""
    for _ in range(10 * _SECONDS):
        found: list[dict[str, Any]] = json.loads(run(*words, "--json")[1])
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{found} are not {count}")
