"""Trees whose sizes add up."""

from hypothesis import given
from hypothesis import strategies as st

from services.context.structure import Entry, Node, Totals, depth_of, folder_totals, tree

names = st.sampled_from(["a", "b", "c", "d"])
# files end in "f", so that no file is another one's folder
paths = st.sets(st.lists(names, min_size=0, max_size=4).map(lambda parts: "/".join([*parts, "f"])), max_size=20)

sizes_of_one = st.tuples(st.integers(0, 99), st.integers(0, 9))
sized_trees = paths.flatmap(lambda tree_paths: st.fixed_dictionaries(dict.fromkeys(tree_paths, sizes_of_one)))


def _entries(sizes: dict[str, tuple[int, int]]) -> list[Entry]:
    folders = folder_totals((path, size, lines) for path, (size, lines) in sizes.items())
    found = [Entry(path, folder=True, totals=totals) for path, totals in folders.items() if path]
    found += [Entry(path, folder=False, totals=Totals(1, size, lines), language="x") for path, (size, lines) in sizes.items()]
    return sorted(found, key=lambda entry: (depth_of(entry.path), not entry.folder, entry.path))


def _check(node: Node) -> None:
    shown = [child.entry.totals for child in node.children]
    if node.entry.folder and not node.truncated:
        assert (node.entry.totals.files, node.entry.totals.bytes) == (sum(t.files for t in shown), sum(t.bytes for t in shown))
    else:
        assert sum(t.files for t in shown) < max(node.entry.totals.files, 1)
    for child in node.children:
        _check(child)


@given(sized_trees, st.integers(0, 30))
def test_sizes_add_up(sizes: dict[str, tuple[int, int]], shown: int) -> None:
    """A folder's numbers are the sums of what is in it, or it says that something is not shown."""
    root = folder_totals((path, size, lines) for path, (size, lines) in sizes.items())[""]
    assert (root.files, root.bytes, root.lines) == (
        len(sizes),
        sum(s for s, _ in sizes.values()),
        sum(n for _, n in sizes.values()),
    )
    entries = _entries(sizes)
    _check(tree(root, entries))
    _check(tree(root, entries[:shown]))


def test_folders_come_before_files() -> None:
    """The order in which people expect a tree."""
    sizes = {"z/f": (1, 1), "b": (1, 1), "a/f": (1, 1)}
    root = folder_totals((path, *size) for path, size in sizes.items())[""]
    assert [child.entry.path for child in tree(root, _entries(sizes)).children] == ["a", "z", "b"]


def test_depth() -> None:
    """The root is level 0."""
    assert [depth_of(path) for path in ("", "a", "a/b")] == [0, 1, 2]
