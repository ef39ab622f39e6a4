"""Tables: drawn by rich for a person at a terminal, plain columns for a pipe."""

import shutil
import sys
from collections.abc import Iterator, Sequence

import click

from mesh.cli.console import Cell

# rich sets a column and its frame so far apart
_BETWEEN = 3


def draw(columns: Sequence[str], rows: Sequence[Sequence[object]], *, terminal: bool) -> None:
    """Writes the table to stdout; a terminal gets as many columns as fit."""
    cells = [[_cell(each) for each in row] for row in rows]
    if terminal:
        _by_rich(*fitting(columns, cells))
    else:
        click.echo("\n".join(plain(columns, cells)))


def fitting(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> tuple[Sequence[str], Sequence[Sequence[Cell]]]:
    """Columns and cells that fit into the terminal; all of them where stdout is none."""
    if not sys.stdout.isatty():
        return columns, cells
    count = fit(columns, cells, shutil.get_terminal_size().columns - _BETWEEN)
    return columns[:count], [row[:count] for row in cells]


def fit(columns: Sequence[str], cells: Sequence[Sequence[Cell]], width: int) -> int:
    """How many columns fit into the width; one at least."""
    taken = 0
    for index, name in enumerate(columns):
        taken += max(len(name), *(len(row[index].text) for row in cells), 0) + _BETWEEN
        if taken > width + _BETWEEN and index:
            return index
    return len(columns)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell(value, "" if value is None else str(value))


def _right(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[bool]:
    """Which columns hold numbers only: they stand at the right."""
    return [bool(cells) and all(isinstance(row[index].value, int | float | None) for row in cells) for index in range(len(columns))]


def plain(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """The lines of a table without a frame, columns aligned."""
    lines = [[name.upper() for name in columns], *([cell.text for cell in row] for row in cells)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    right = _right(columns, cells)
    for line in lines:
        texts = [text.rjust(width) if last else text.ljust(width) for text, width, last in zip(line, widths, right, strict=True)]
        yield "  ".join(texts).rstrip()


def _by_rich(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - costs more than most commands
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(columns, _right(columns, cells), strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    Console(highlight=False).print(table)
