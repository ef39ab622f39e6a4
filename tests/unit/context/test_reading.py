"""Reading one file: what belongs into the index and what does not."""

import os
from pathlib import Path

import pytest

from services.context.parsing import State
from services.context.reading import Limits, Read, lines_of, load, of_content
from services.context.walking import Reason

LIMITS = Limits(max_file_bytes=1000, max_symbols=10, max_imports=10)


def test_what_does_not_belong(tmp_path: Path) -> None:
    """Each file that is left out has a reason of its own."""
    (tmp_path / "binary").write_bytes(b"ELF\0")
    (tmp_path / "large").write_bytes(b"x" * 1001)
    assert load(tmp_path / "binary", LIMITS) is Reason.BINARY
    assert load(tmp_path / "large", LIMITS) is Reason.TOO_LARGE
    assert load(tmp_path / "missing", LIMITS) is Reason.VANISHED
    assert load(tmp_path, LIMITS) is Reason.UNREADABLE


def test_what_took_a_files_place_is_not_read(tmp_path: Path) -> None:
    """Between walk and reading a file may be replaced by a link that leads out, or by a pipe that would block."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert load(tmp_path / "link", LIMITS) is Reason.SYMLINK
    assert load(tmp_path / "pipe", LIMITS) is Reason.NOT_REGULAR


def test_known_content_is_not_parsed_again() -> None:
    """The hash of the content decides, whatever the times say."""
    first = of_content("a.py", b"x = 1\n", "", LIMITS)
    assert first.parsed
    assert of_content("a.py", b"x = 1\n", first.content_hash, LIMITS).parsed is None
    assert of_content("a.py", b"x = 2\n", first.content_hash, LIMITS).parsed


@pytest.mark.parametrize(
    ("path", "content", "state"),
    [
        ("a.py", b"def f(): ...\n", State.PARSED),
        ("a.py", b"\xef\xbb\xbfdef f(): ...\n", State.PARSED),
        ("a.py", "def f(): 'é'\n".encode("latin-1"), State.PARSED),
        ("a.py", b"def f(:\n", State.SYNTAX_ERRORS),
        ("a.unknown", b"whatever", State.NO_GRAMMAR),
        ("go.mod", b"module acme.org/tool\n", State.PARSED),
        ("go.mod", b"nothing", State.SYNTAX_ERRORS),
    ],
)
def test_states(path: str, content: bytes, state: State) -> None:
    """A byte order mark, another encoding and a broken text are read as far as they can be."""
    read = of_content(path, content, "", LIMITS)
    assert read.parsed
    assert read.parsed.state is state


def test_a_go_module_is_a_symbol() -> None:
    """Imports of its folder are resolved by it."""
    read = of_content("go.mod", b"// ours\nmodule acme.org/tool\n", "", LIMITS)
    assert read.parsed
    assert [(symbol.name, symbol.start_line) for symbol in read.parsed.symbols] == [("acme.org/tool", 2)]


def test_a_file_whose_parser_failed_keeps_its_size() -> None:
    """It is listed, without symbols."""
    read = of_content("a.py", b"def f(): ...\n", "", LIMITS, parse=False)
    assert isinstance(read, Read)
    assert (read.size, read.lines, read.language) == (13, 1, "python")
    assert read.parsed
    assert (read.parsed.symbols, read.parsed.state) == ((), State.FAILED)


def test_lines() -> None:
    """A last line without a line feed counts."""
    assert [lines_of(text) for text in (b"", b"a", b"a\n", b"a\nb")] == [0, 1, 1, 2]
