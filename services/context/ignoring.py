"""What a source tree leaves out, by the rules of gitignore(5): nested files, the nearest one decides, the last pattern wins.

Not pathspec's, because that lets a pattern for a folder speak for what is in it, where git asks for the folder alone: 2.5 % of
random trees came out unlike git. A test compares this with git itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.context.wildmatch import regex

_SPECIAL = re.compile(r"[*?\[\\]")


@dataclass(frozen=True)
class Pattern:
    """One line of an ignore file; `matcher` fullmatches paths relative to the file's folder."""

    matcher: re.Pattern[str]
    only_folders: bool
    takes_back: bool


@dataclass(frozen=True)
class Rules:
    """The patterns of one ignore file; `base` is its folder relative to the top of the tree ("" or "a/b/")."""

    base: str
    patterns: tuple[Pattern, ...]
    # one look tells most entries that no pattern speaks of them
    any_of: re.Pattern[str]


def rules(base: str, content: bytes) -> Rules | None:
    """Reads an ignore file; None when it says nothing."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    # git compares bytes; latin-1 makes one letter of each
    patterns = tuple(made for line in lines if (made := pattern(line.removesuffix(b"\r").decode("latin-1"))))
    if not patterns:
        return None
    return Rules(as_bytes(base), patterns, re.compile("|".join(f"(?:{each.matcher.pattern})" for each in patterns), re.DOTALL))


def pattern(line: str) -> Pattern | None:
    """Reads a line of an ignore file; None for a blank one and a comment."""
    line = _without_trailing_spaces(line)
    if not line or line.startswith("#"):
        return None
    takes_back = line.startswith("!")
    line = line.removeprefix("!") if takes_back else line
    only_folders = line.endswith("/")
    line = line.removesuffix("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    if not line:
        return None
    expression = _from_base(line) if anchored else "(?:.*/)?+" + regex(line)
    return Pattern(re.compile(expression, re.DOTALL), only_folders, takes_back)


def _from_base(line: str) -> str:
    """A pattern for the path from the file's folder. Git takes its literal beginning off first, so "a**/b" crosses folders."""
    literal = re.split(_SPECIAL, line, maxsplit=1)[0]
    return re.escape(literal) + regex(line[len(literal) :])


def _without_trailing_spaces(line: str) -> str:
    """Spaces at the end do not count unless a backslash keeps them."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and stripped != line else stripped


def as_bytes(path: str) -> str:
    """A path with one letter for each of its bytes, as rules compare it."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")


def ignored(path: str, folder: bool, stack: Sequence[Rules]) -> bool:
    """True when the entry is left out; `stack` holds the rules that apply to it, the top of the tree first.

    Asked for a folder before anything in it: what is in an ignored folder is ignored and cannot be taken back.
    """
    path = as_bytes(path)
    for each in reversed(stack):
        inner = path[len(each.base) :]
        if each.any_of.fullmatch(inner):
            for one in reversed(each.patterns):
                if (folder or not one.only_folders) and one.matcher.fullmatch(inner):
                    return not one.takes_back
    return False
