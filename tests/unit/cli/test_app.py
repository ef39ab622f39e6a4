"""The root of the command: its commands, its help without imports, its exit codes, its tree for the reference."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mesh.catalogue import SERVICES
from mesh.cli import app as root
from mesh.cli.console import Code, Console
from mesh.version import version

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = "127.0.0.1:9"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line, in this process."""
    code = root.app.run(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", sorted(root.command_files()))
def test_every_command_file_is_a_command(name: str) -> None:
    """It holds `command`, and its first line is what its help begins with."""
    command = root.app.get_command(click.Context(root.app), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert root.headline(root.command_files()[name])
    assert (command.help or "").strip()


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """A command and those below it, each with its context."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, click.Context(below, parent=context, info_name=name))


def test_every_command_has_the_shared_options_once() -> None:
    """At any depth, and before --help, however often it is asked for."""
    for context in _commands(root.app, click.Context(root.app, info_name=root.PROGRAM)):
        for _ in range(2):
            taken = [option for param in context.command.get_params(context) for option in param.opts]
            assert (taken.count("--json"), taken.count("--door")) == (1, 1), context.command_path
            assert taken[-1] == "--help"


def test_no_command_hides_a_service() -> None:
    """A command of the name of a service would take its verbs away."""
    assert not set(root.command_files()) & {spec.name for spec in SERVICES}


def test_help_imports_nothing_that_costs() -> None:
    """Neither gRPC, nor protobuf, nor rich, nor any command."""
    code = (
        "import sys; from mesh.cli.app import app; app.run(['--help']); heavy = ('grpc', 'google', 'rich', 'asyncio'); "
        "sys.exit(', '.join(m for m in sys.modules if m.split('.')[0] in heavy or m.startswith('mesh.cli.commands.')) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "provider" in done.stdout


def test_help_of_a_service_calls_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Its verbs, with the short form of those that have one."""
    code, out, _ = run(capsys, "provider", "--help", "--door", NOWHERE)
    assert code == Code.DONE
    assert "select-provider, select" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stats"], "Did you mean status"),
        (["provider", "selekt-provider"], "Did you mean select-provider"),
        (["provider", "list"], "may be list-"),
        (["call", "StartTraning"], "Did you mean StartTraining?"),
        (["call", "learning.Start"], "There is no RPC"),
        (["provider", "select", "--strategy", "fast"], "choose one of: balanced"),
        (["learning", "start", "rounds=1"], "no such field"),
        (["events", "read", "--after", "1", "--since", "1h"], "Give one of"),
        (["events", "read", "--all", "--last", "3"], "Give one of --all and --last"),
        (["events", "replay", "learning"], "Give one of --from-beginning"),
        (["events", "replay", "learning", "--from-beginning", "--after", "3"], "Give one of --from-beginning"),
        (["events", "publish", "training.complted"], "did you mean training.completed"),
        (["events", "dead", "redrive", "learning"], "Give positions, or --all"),
        (["scale", "provider"], "SERVICE=REPLICAS"),
    ],
)
def test_wrong_usage_says_what_would_be_right(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Exit code 2, for people and for programs; nothing on stdout."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (Code.USAGE, "")
    assert said in err
    code, out, err = run(capsys, *words, "--json")
    assert (code, out) == (Code.USAGE, "")
    error = json.loads(err)["error"]
    assert said in f"{error['message']} {error.get('nextStep', '')}"


@pytest.mark.parametrize("words", [["status"], ["provider", "list-models"], ["call", "GetHealth"], ["events", "lag"], ["logs"]])
def test_nothing_there(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Exit code 3, with the command that starts a mesh."""
    code, out, err = run(capsys, *words, "--door", NOWHERE)
    assert (code, out) == (Code.UNREACHABLE, "")
    assert "tooloo up" in err


def test_a_setting_that_cannot_be_used(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrong usage, and the setting is named."""
    monkeypatch.setenv("TOOLOO_DOOR_PORT", "many")
    code, _, err = run(capsys, "status")
    assert code == Code.USAGE
    assert "TOOLOO_DOOR_PORT" in err


def test_interrupted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is 130, as shells have it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "result", interrupted)
    assert run(capsys, "open")[0] == Code.INTERRUPTED


def test_open_prints_the_address(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the control room, or of a page of it; without a display no browser is started."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run(capsys, "open", "events", "--door", "mesh.example:80")[1] == "http://mesh.example:80/#/events\n"
    assert json.loads(run(capsys, "open", "--json", "--door", "mesh.example:80")[1]) == {
        "url": "http://mesh.example:80/",
        "opened": False,
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_each_shell(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """A script that asks the command itself, by the variable that the command listens to."""
    code, out, _ = run(capsys, "completion", shell)
    assert code == Code.DONE
    assert f"_TOOLOO_COMPLETE={shell}_complete" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the project."""
    assert run(capsys, "--version")[:2] == (Code.DONE, f"{version()}\n")
    assert json.loads(run(capsys, "--version", "--json")[1]) == {"version": version()}


def test_the_tree_has_every_command_and_verb() -> None:
    """What the generated reference is made from."""
    described = list(root.tree())
    paths = [each.path for each in described]
    assert len(paths) == len(set(paths))
    assert {(name,) for name in [*root.command_files(), *(spec.name for spec in SERVICES)]} <= set(paths)
    assert {("events", "dead", "redrive"), ("provider", "select-provider")} <= set(paths)
    assert all(each.help for each in described)
    select = next(each for each in described if each.path == ("provider", "select-provider"))
    assert any(name.startswith("--query") for name, _ in select.options)
    assert not any(name == "--json" for each in described[1:] for name, _ in each.options)


@pytest.mark.parametrize(("value", "colored"), [("1", False), ("", None)])
def test_no_color(monkeypatch: pytest.MonkeyPatch, value: str, colored: bool | None) -> None:
    """NO_COLOR counts when it is set and not empty (no-color.org)."""
    from mesh.cli.console import wants_color  # noqa: PLC0415 - only this test asks

    monkeypatch.setenv("NO_COLOR", value)
    assert wants_color() is colored


@pytest.mark.parametrize("words", [("up", "-d"), ("down",), ("restore", "backup")])
def test_a_data_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """A file in its place is wrong usage, and no traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLOO_DATA_FOLDER", str(tmp_path / "file"))
    code, out, err = run(capsys, *words)
    assert (code, out) == (Code.USAGE, "")
    assert err.startswith(f"✗ the data folder {tmp_path / 'file'} cannot be used")


def _shell(line: str) -> tuple[int, str]:
    """Exit code and stderr of a line of the shell, in which $T is the command."""
    env = os.environ | {"T": f"{sys.executable} -m mesh.cli"}
    ended = subprocess.run(["bash", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr


def test_an_answer_without_room_is_no_traceback() -> None:
    """On a full disk the command says so and fails."""
    code, err = _shell("$T --version > /dev/full")
    assert (code, err.splitlines()) == (
        Code.REFUSED,
        ["✗ there is no room left for what it writes", "  → make room, then call it again"],
    )


@pytest.mark.parametrize(("line", "code"), [("$T --version >&-", Code.DONE), ("$T call GetHealth - <&-", Code.USAGE)])
def test_a_closed_stream_is_an_empty_one(line: str, code: Code) -> None:
    """As cron and other parents without a terminal may leave it."""
    ended, err = _shell(line)
    assert ended == code, err
    assert "Traceback" not in err


def test_a_guaranteed_mesh_does_not_end_with_its_reader() -> None:
    """`tooloo up --guaranteed | head`: the command stays with the mesh that it started, which nobody else would stop."""
    mesh = "import time; print('one', flush=True); time.sleep(0.2); print('two', flush=True)"
    command = (
        "import sys; from mesh.cli.commands import up; from mesh.cli.console import Console;"
        f"up._COMMAND = (sys.executable, '-c', {mesh!r}); sys.exit(up._start_and_prove(Console()) or 7)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", command], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (7, b"")
