"""Every line of the documentation that calls `tooloo` is right usage: it fails for want of a mesh, not for its words."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.app import app, command_files
from mesh.cli.console import Code

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_END = {"|", "<", ">", ">>", "&&", "||", ";", "&", "do", "done"}
# these would start or stop something, or look at this machine
_NOT_HERE = {"up", "down", "doctor", "backup", "restore"}
# what the files that examples name hold
_FILES = ("dag.json", "request.json", "budget.json", "cloudevents.json", "event.json")


def commands(page: Path) -> Iterator[list[str]]:
    """The words after each `tooloo` in the page's blocks of shell."""
    for block in _BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _in_line(line.removeprefix("$ "))


def _in_line(line: str) -> Iterator[list[str]]:
    if "tooloo" not in line:
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words = list(lexer)
    for index, word in enumerate(words):
        if word == "tooloo" and (index == 0 or words[index - 1] in _END):
            rest = words[index + 1 :]
            yield rest[: next((place for place, each in enumerate(rest) if each in _END), len(rest))]


LINES = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in commands(page)]


def test_there_are_lines_to_check() -> None:
    """An empty list would prove nothing."""
    assert len(LINES) > 20


@pytest.mark.parametrize(("page", "words"), LINES, ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_a_line_is_right_usage(
    page: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the files that it names, and a door where nobody answers."""
    if words and words[0] in _NOT_HERE:
        assert words[0] in command_files()
        return
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("{}"))
    for name in _FILES:
        (tmp_path / name).write_text("{}")
    code = app.run([*words, "--door", "127.0.0.1:9"])
    assert code in {Code.DONE, Code.UNREACHABLE}, f"{page}: {capsys.readouterr().err}"
