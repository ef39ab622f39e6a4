"""The page of examples: each program of examples/ with what it says of itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_INTRODUCTION = """# Examples

Each runs in seconds on a mesh that `make dev` started, and is run by a test. Run them in the checkout, with the Python of
`make dev`:

```
.venv/bin/python examples/training.py
```

"""


def programs() -> Iterator[Path]:
    """The programs, and the packages that are started as one."""
    yield from sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
    yield from sorted(EXAMPLES.glob("*/__main__.py"))


def page() -> str:
    """The whole page, from the docstrings."""
    return _INTRODUCTION + "\n".join(map(_entry, programs()))


def _entry(path: Path) -> str:
    shown = path.parent if path.stem == "__main__" else path
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return f"## `examples/{shown.relative_to(EXAMPLES)}`\n\n{text}\n"
