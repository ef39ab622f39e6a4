"""Pieces of Markdown that every page of the reference is made of."""

from collections.abc import Iterable, Sequence


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


def _escaped(text: str) -> str:
    special = {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "&#124;",
        "*": "&#42;",
        "_": "&#95;",
        "\\": "&#92;",
        "[": "&#91;",
        "`": "&#96;",
    }
    return "".join(special.get(letter, letter) for letter in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; line breaks inside a cell become spaces."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines) + "\n"


def block(language: str, text: str) -> str:
    """A block of code."""
    return f"\n```{language}\n{text.strip()}\n```\n"
