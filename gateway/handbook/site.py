"""Puts the site together: the pages of docs/ and the reference into one folder with its navigation, and builds that."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import reference as settings_reference
from gateway.handbook import calls, commands, events, examples, navigation, refusals
from mesh.catalogue import SERVICES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


class BrokenError(RuntimeError):
    """The site has broken links or anchors; the message names them."""


def reference(heard: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The pages that are made, by their place among those of docs/; `heard` says which services listen to which events."""
    made = {f"reference/calls/{spec.name}.md": calls.page(spec) for spec in SERVICES}
    made |= commands.pages()
    return made | {
        "reference/events.md": events.page(heard),
        "reference/errors.md": refusals.page(),
        "settings.md": settings_reference.reference(),
        "examples.md": examples.page(),
    }


def assemble(folder: Path, made: Mapping[str, str]) -> Path:
    """Writes everything that the site is built from into a folder, which is emptied first; the path of the configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    written = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    for name, text in (written | dict(made)).items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(within(text, name) if name in written else text, encoding="utf-8")
    config = tomllib.loads((DOCS / "site.toml").read_text(encoding="utf-8"))
    names = sorted(written.keys() | made.keys())
    config["project"] |= {"docs_dir": "docs", "site_dir": "site", "nav": navigation.expand(config["project"]["nav"], names)}
    (folder / "zensical.toml").write_text(_toml(config), encoding="utf-8")
    return folder / "zensical.toml"


def within(text: str, name: str) -> str:
    """The text without links that leave docs/, which lead nowhere on the site: the file's path stands there instead."""

    def kept(match: re.Match[str]) -> str:
        target = match["target"]
        if "://" in target or target.startswith("#"):
            return match[0]
        path = os.path.normpath(Path("docs") / Path(name).parent / target.split("#", 1)[0])
        return match[0] if path.startswith("docs/") and path.endswith(".md") else f"{match['text']} (`{path}`)"

    return _LINK.sub(kept, text)


def _toml(config: Mapping[str, Any]) -> str:
    """The configuration as TOML: one inline value a key of [project]."""
    lines = [f"{key} = {_value(value)}" for key, value in config["project"].items()]
    return "[project]\n" + "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # text, numbers and booleans are written in TOML as in JSON
    return json.dumps(value, ensure_ascii=False)


def build(config: Path) -> None:
    """Builds the site; BrokenError, which names each, when a link or an anchor leads nowhere."""
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "--clean", "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode:
        # what follows is a traceback of zensical itself
        raise BrokenError(_COLOR.sub("", done.stderr + done.stdout).split("Traceback", 1)[0])
    take_out_scripts(config.parent / "site")


def take_out_scripts(folder: Path) -> None:
    """Puts the scripts that stand within the pages into files: the door, which serves the site too, lets no other run."""
    for page in folder.rglob("*.html"):
        # zensical's own are beside them
        scripts = Path(os.path.relpath(folder / "assets" / "javascripts", page.parent))

        def outside(match: re.Match[str], page: Path = page, scripts: Path = scripts) -> str:
            name = scripts / f"{hashlib.sha256(match[1].encode()).hexdigest()[:12]}.js"
            (page.parent / name).write_text(match[1], encoding="utf-8")
            return f'<script src="{name.as_posix()}"></script>'

        page.write_text(_SCRIPT.sub(outside, page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Makes build/site."""
    config = assemble(BUILD / "docs", reference(asyncio.run(events.listeners())))
    try:
        build(config)
    except BrokenError as error:
        raise SystemExit(str(error)) from error
    target = BUILD / "site"
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(config.parent / "site", target)
    shown = target.relative_to(ROOT)
    sys.stdout.write(
        f"the site is {shown}/index.html; with its search: http://localhost:3000/docs/ once the mesh is started again, "
        f"or python3 -m http.server -d {shown}\n"
    )
