"""Pieces of Markdown that every page of the reference is made of."""

from collections.abc import Iterable, Sequence

# what Markdown and its extensions take for more than a letter
_SPECIAL = frozenset("&<>|*_^~{}[]\\`")


def anchor(full_name: str) -> str:
    """The anchor of an element of the contracts, RPCs and event types: its full name, as a URL takes it."""
    return full_name.replace("/", ".").lower()


def heading(level: int, text: str, full_name: str) -> str:
    """A heading with the anchor of what it is about."""
    return f"\n{'#' * level} {text} {{ #{anchor(full_name)} }}\n"


def code(text: str) -> str:
    """Text as code that stands in a table: a bar would end its cell."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text.replace('|', '&#124;')}{fence}" if "|" not in text else f"<code>{_escaped(text)}</code>"


def prose(text: str) -> str:
    """Text of a comment: what is between backticks is code, and nothing else in it means anything."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        # a backtick without its pair
        return _escaped(text)
    return "`".join(part if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join(f"&#{ord(letter)};" if letter in _SPECIAL else letter for letter in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line breaks inside a cell become spaces."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines) + "\n"


def block(language: str, text: str) -> str:
    """A block of code."""
    return f"\n```{language}\n{text.strip()}\n```\n"
