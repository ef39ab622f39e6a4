"""What a page of the documentation shows: its files, its commands, and the answers that they give."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

_ANSWER = re.compile(r"^\$ (?P<command>curl .*)\n(?P<answer>\{.*\})$", re.MULTILINE)
_FILE = re.compile(r"^`(?P<name>[\w./]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^```sh\n(?P<command>.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHATEVER = "…"
# what may be given again: curl without a body
_WRITES = re.compile(r"^(?!curl)|-X POST|-d ")
_PATIENCE, _PAUSE = 60.0, 0.2


def answers(page: str) -> list[tuple[str, Any]]:
    """Every curl command with the JSON that the page says it answers."""
    return [(match["command"], json.loads(match["answer"])) for match in _ANSWER.finditer(page)]


def files(page: str) -> dict[str, str]:
    """The files that the reader is asked to write: a name in backticks, then a block with the text."""
    return {match["name"]: match["text"] for match in _FILE.finditer(page)}


def steps(page: str) -> Iterator[tuple[str, Any]]:
    """Shell blocks and curl commands in the order of the page, each with the JSON it should answer; None for a shell block."""
    found = [(match.start(), match["command"], None) for match in _COMMAND.finditer(page)]
    found += [(match.start(), match["command"], json.loads(match["answer"])) for match in _ANSWER.finditer(page)]
    return ((command, answer) for _, command, answer in sorted(found, key=lambda each: each[0]))


def matches(expected: Any, got: Any, where: str) -> None:
    """What a page shows stands in the answer; an ellipsis stands for any value that is there."""
    if expected == WHATEVER:
        assert got not in (None, "", [], {}), where
    elif isinstance(expected, dict):
        for key, value in expected.items():
            assert key in got, f"{where}: no {key} in {got}"
            matches(value, got[key], f"{where} → {key}")
    elif isinstance(expected, list):
        for wanted, item in zip(expected, got, strict=False):
            matches(wanted, item, where)
    else:
        assert got == expected, where


def answered(expected: str, ask: Callable[[], str], command: str) -> str:
    """What a command prints, once it is what the page shows.

    One that reads is given again for a while, for what it reads follows in its own time what was written before.
    """
    end = time.monotonic() + (0 if _WRITES.search(command) else _PATIENCE)
    while True:
        said = ask()
        try:
            prints(expected, said, command)
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        else:
            return said


def dialogues(page: str) -> Iterator[tuple[str, str]]:
    """Every command of a console block with what the page says that it prints."""
    for block in _CONSOLE.findall(page):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, said = command.partition("\n")
            yield line, said.strip()


def prints(expected: str, got: str, where: str) -> None:
    """A page's text is what was printed; JSON as `matches` has it, and in other text an ellipsis stands for anything."""
    if expected.startswith("{"):
        matches(json.loads(expected), json.loads(got), where)
    else:
        pattern = re.escape(expected).replace(re.escape(WHATEVER), ".+?")
        assert re.fullmatch(pattern, got.strip(), re.DOTALL), f"{where}\nprinted\n{got}\ninstead of\n{expected}"


def patches(page: str) -> list[str]:
    """The changes of files that are there, as unified diffs."""
    return _DIFF.findall(page)
