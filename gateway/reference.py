"""The reference of settings, made from their declarations: `python -m gateway.reference docs/settings.md`."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from mesh.catalogue import SERVICES
from mesh.settings import Documented, Section

_INTRODUCTION = """# Settings

Made from the declarations by `python -m gateway.reference docs/settings.md`; a test keeps it true. Each setting can be given in the
environment, or in the settings file (`TOOLOO_CONFIG`, else `./tooloo.toml` when it is there) under its section; the environment
wins. Durations are written `250ms`, `30s`, `5m`, `2h`, `7d`, at most `36500d`; lists with commas.
"""


def sections() -> Iterator[type[Section]]:
    """Every group of settings of the mesh, in the order of the reference."""
    modules = [
        "mesh.settings",
        "envoy.settings",
        "gateway.settings",
        *(f"{spec.module}.settings" for spec in SERVICES if spec.module),
        "bus.jetstream.settings",
    ]
    for name in modules:
        if importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Section)]
        yield from sorted((each for each in found if each.section and each.__module__ == name), key=lambda each: each.section)


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [_INTRODUCTION]
    for section in sections():
        parts.append(f"\n## {section.section}\n\n{(section.__doc__ or '').splitlines()[0]}\n")
        parts.append("| setting | environment | type | default | meaning |\n| --- | --- | --- | --- | --- |")
        parts += [_row(row) for row in section.documented()]
    return "\n".join(parts) + "\n"


def _row(row: Documented) -> str:
    default = f"`{row.default}`" if row.default else ""
    return f"| `{row.name}` | `{row.env}` | {row.type} | {default} | {row.doc} |".replace("\n", " ")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
