"""Git's shell patterns as regular expressions: wildmatch.c of git with WM_PATHNAME, where only a whole segment `**` crosses "/"."""

import re
from collections.abc import Sequence
from enum import Enum, auto

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "a-fA-F0-9",
}
_NOTHING = "(?!)"


class _Stars(Enum):
    """What stars stand for: letters within a segment, whole folders, or all the rest."""

    WITHIN = auto()
    FOLDERS = auto()
    REST = auto()


class _Broken(ValueError):
    """A pattern that matches nothing, e.g. one whose bracket never closes."""


def regex(pattern: str) -> str:
    """The expression that fullmatches what the pattern does; one that matches nothing when git's would not either."""
    try:
        return _translate(pattern)
    except _Broken:
        return _NOTHING


def _translate(pattern: str) -> str:
    """Piece by piece: what stands between two stars, or two `**/`, is found where it comes first and never looked for again.

    Any place would do as well, as the star behind it takes the rest; without that a pattern with n stars takes the n-th power of a
    path's length to say that it does not match.
    """
    deep = [[""]]
    place = 0
    while place < len(pattern):
        letter = pattern[place]
        if letter == "*":
            kind, place = _stars(pattern, place)
            if kind is _Stars.REST:
                deep[-1][-1] += ".*"
            elif kind is _Stars.FOLDERS:
                deep.append([""])
            else:
                deep[-1].append("")
            continue
        if letter == "?":
            text, place = "[^/]", place + 1
        elif letter == "[":
            text, place = _bracket(pattern, place + 1)
        elif letter == "\\":
            text, place = re.escape(_escaped(pattern, place + 1)), place + 2
        else:
            text, place = re.escape(letter), place + 1
        deep[-1][-1] += text
    first, *more = map(_starred, deep)
    return first + "".join(f"(?>(?:[^/]*/)*?{piece})" for piece in more[:-1]) + "".join(f"(?:.*/)?{piece}" for piece in more[-1:])


def _starred(pieces: Sequence[str]) -> str:
    """Pieces with a star between each two of them."""
    first, *more = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in more[:-1]) + "".join(f"[^/]*{piece}" for piece in more[-1:])


def _escaped(pattern: str, place: int) -> str:
    if place >= len(pattern):
        raise _Broken
    return pattern[place]


def _stars(pattern: str, start: int) -> tuple[_Stars, int]:
    end = start
    while pattern[end : end + 1] == "*":
        end += 1
    segment = (start == 0 or pattern[start - 1] == "/") and pattern[end : end + 1] in ("", "/")
    if end - start == 1 or not segment:
        return _Stars.WITHIN, end
    return (_Stars.FOLDERS, end + 1) if end < len(pattern) else (_Stars.REST, end)


def _bracket(pattern: str, place: int) -> tuple[str, int]:
    """The set that opens before `place`, and the place behind it."""
    negated = pattern[place : place + 1] in ("!", "^")
    place += negated
    parts: list[str] = []
    previous, first = "", True
    while first or pattern[place : place + 1] != "]":
        first = False
        letter = _escaped(pattern, place)
        if letter == "-" and previous and pattern[place + 1 : place + 2] not in ("", "]"):
            place += 2 if pattern[place + 1] == "\\" else 1
            parts[-1] = _range(previous, _escaped(pattern, place))
            previous = ""
        elif letter == "[" and pattern[place + 1 : place + 2] == ":":
            text, place = _named_class(pattern, place)
            parts.append(text)
            previous = ""
        else:
            place += letter == "\\"
            previous = _escaped(pattern, place)
            parts.append(re.escape(previous))
        place += 1
    return _set("".join(parts), negated), place + 1


def _range(low: str, high: str) -> str:
    # a range that runs backwards holds only its first letter, which git has looked at before it saw the "-"
    return f"{re.escape(low)}-{re.escape(high)}" if low <= high else re.escape(low)


def _named_class(pattern: str, place: int) -> tuple[str, int]:
    end = pattern.find(":]", place + 2)
    name = pattern[place + 2 : end] if end >= 0 else ""
    if name not in _CLASSES:
        raise _Broken
    return _CLASSES[name], end + 1


def _set(members: str, negated: bool) -> str:
    return f"(?:(?!/)[{'^' if negated else ''}{members}])"
