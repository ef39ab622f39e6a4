"""The navigation of the site: the order of docs/site.toml, with its patterns replaced by the pages that there are."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

Nav = list[Any]


def expand(wanted: Nav, pages: Sequence[str]) -> Nav:
    """The navigation with every page once; a name without a page is left out, and what no pattern takes does not appear."""
    named = set(_names(wanted))
    left = list(pages)
    return _expand(wanted, left, named)


def _names(wanted: Nav) -> Iterator[str]:
    """The entries that are no patterns: a pattern before them must not take their pages."""
    for entry in wanted:
        if isinstance(entry, dict):
            yield from (name for inside in entry.values() for name in _names(inside))
        elif "*" not in entry:
            yield entry


def _expand(wanted: Nav, left: list[str], named: set[str]) -> Nav:
    found: Nav = []
    for entry in wanted:
        if isinstance(entry, dict):
            found += [{title: inner} for title, inside in entry.items() if (inner := _expand(inside, left, named))]
            continue
        taken = [page for page in left if _takes(entry, page, named)]
        for page in taken:
            left.remove(page)
        found += taken
    return found


def _takes(entry: str, page: str, named: set[str]) -> bool:
    """A star stands for no slash: a pattern takes the pages of one folder."""
    same_depth = entry.count("/") == page.count("/")
    return page == entry or ("*" in entry and same_depth and page not in named and fnmatchcase(page, entry))


def pages(nav: Nav) -> Iterator[str]:
    """Every page of a navigation, in its order."""
    for entry in nav:
        if isinstance(entry, dict):
            yield from (page for inside in entry.values() for page in pages(inside))
        else:
            yield entry
