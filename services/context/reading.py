"""Reads one file of a tree into what the index keeps of it; runs in a worker process."""

import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from services.context.languages import grammar_of, language_of
from services.context.parsing import Kind, Parsed, State, Symbol, parse
from services.context.walking import Reason

# git calls a file binary by the same look
_HEAD = 8 * 1024
_BOM = b"\xef\xbb\xbf"
_GO_MODULE = re.compile(rb"^module\s+\"?([^\s\"]{1,200})", re.MULTILINE)
_UNPARSED = Parsed((), (), State.FAILED)


@dataclass(frozen=True)
class Limits:
    """How large a file may be in bytes, and how much is kept of it."""

    max_file_bytes: int
    max_symbols: int
    max_imports: int


@dataclass(frozen=True)
class Read:
    """A file as it was read: `content_hash` is BLAKE2b-128 in hexadecimal; `parsed` is None when the content is the known one."""

    path: str
    size: int
    lines: int
    language: str
    content_hash: str
    parsed: Parsed | None


def load(file: Path, limits: Limits) -> bytes | Reason:
    """The bytes of a text file; a Reason when it does not belong into the index."""
    try:
        with open(file, "rb", opener=_open_regular) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                return Reason.NOT_REGULAR
            content = opened.read(limits.max_file_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Reason.VANISHED
    except OSError as error:
        return Reason.SYMLINK if error.errno == errno.ELOOP else Reason.UNREADABLE
    if len(content) > limits.max_file_bytes:
        return Reason.TOO_LARGE
    return Reason.BINARY if b"\0" in content[:_HEAD] else content


def _open_regular(path: str, flags: int) -> int:
    """Opens what was a regular file when the tree was walked: no link that has taken its place, and no pipe that would block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def of_content(path: str, content: bytes, known_hash: str, limits: Limits, *, parse: bool = True) -> Read:
    """What the index keeps of a text, parsed unless its hash is the known one; without symbols when it should not be parsed."""
    content_hash = hashlib.blake2b(content, digest_size=16).hexdigest()
    name = path.rpartition("/")[2]
    language = language_of(name, content[:200])
    parsed = None
    if content_hash != known_hash:
        parsed = _parsed(name, language, content.removeprefix(_BOM), limits) if parse else _UNPARSED
    return Read(path, len(content), lines_of(content), language, content_hash, parsed)


def lines_of(content: bytes) -> int:
    """Lines as an editor counts them: a last one without a line feed counts too."""
    return content.count(b"\n") + (bool(content) and not content.endswith(b"\n"))


def _parsed(name: str, language: str, content: bytes, limits: Limits) -> Parsed:
    grammar = grammar_of(language, name)
    if grammar:
        return parse(grammar, content, limits.max_symbols, limits.max_imports)
    return _go_module(content) if language == "gomod" else Parsed((), (), State.NO_GRAMMAR)


def _go_module(content: bytes) -> Parsed:
    """A go.mod names the module that imports of its folder begin with."""
    match = _GO_MODULE.search(content)
    if not match:
        return Parsed((), (), State.SYNTAX_ERRORS)
    line = content.count(b"\n", 0, match.start()) + 1
    return Parsed((Symbol(match[1].decode("utf-8", "replace"), Kind.MODULE, line, line, ""),), (), State.PARSED)
