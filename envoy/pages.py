"""The static pages as routes: Envoy answers them itself, so they are there when every service is down.

A direct response has no validator (ETag), so nothing is ever asked again for: scripts and styles stand under a path that holds the
hash of the whole folder and may be kept for ever; only the HTML, which names that path, is fetched anew each time.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from envoy.filters import CONTENT_SECURITY_POLICY, HEADERS, TRANSCODER, Config, headers, off, set_header

SCRIPT = "application/javascript; charset=utf-8"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": SCRIPT,
    ".mjs": SCRIPT,
    ".svg": "image/svg+xml",
}
# what the documentation is made of besides
SITE_TYPES = CONTENT_TYPES | {".json": "application/json", ".png": "image/png", ".xml": "application/xml"}
ASSETS, SITE = "/assets/", "/docs/"
# Envoy holds each file in memory, and one that is larger than this would keep it from starting
LARGEST_FILE = 4 * 1024 * 1024
NO_SITE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>TooLoo</title><link rel="icon" href="data:,">
<h1>The documentation is not built yet</h1><p>Run <code>make docs</code> where the mesh runs, then start the mesh again.
Meanwhile: <a href="/#/calls">every call with a form</a>, and the pages themselves in the folder <code>docs/</code>.</p></html>
"""
# the site's search, a script of zensical's, makes a style of its own; nothing else is looser than for other pages
SITE_POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
FOR_EVER, ANEW = "public, max-age=31536000, immutable", "no-cache"
# addresses that pages had before, and where they went
MOVED = {"/docs": "/#/calls"}
_IMPORT = re.compile(r"""^(?:import|export)\b[^'"()]*['"](\.[^'"]+)['"]""", re.MULTILINE)


def page_routes(folder: Path) -> Iterator[Config]:
    """One route for each file: index.html is "/", another page its name without suffix, everything else "/assets/<hash>/<path>"."""
    files = page_files(folder)
    if not files:
        return
    base = assets_base(folder)
    for file in files:
        kind = CONTENT_TYPES[file.suffix]
        if file.suffix == ".html":
            yield _page(_page_path(file), {"inline_string": _html(folder, file, base)}, kind)
        else:
            yield _route({"path": base + file.relative_to(folder).as_posix()}, {"filename": str(file)}, kind, FOR_EVER)
    for path, target in MOVED.items():
        yield _moved(path, target)


def site_routes(folder: Path) -> Iterator[Config]:
    """The documentation that `make docs` built, a route for each file below /docs/; where there is none, a page that says so."""
    index = folder / "index.html"
    body = {"filename": str(index)} if index.is_file() else {"inline_string": NO_SITE}
    yield _page(SITE, body, SITE_TYPES[".html"], SITE_POLICY)
    for file in sorted(folder.rglob("*")):
        if file.suffix in SITE_TYPES and file.is_file() and file.stat().st_size <= LARGEST_FILE:
            path = SITE + file.relative_to(folder).as_posix()
            yield _page(path, {"filename": str(file)}, SITE_TYPES[file.suffix], SITE_POLICY)


def page_files(folder: Path) -> list[Path]:
    """Every file that is served, in a fixed order; licences and other texts beside them are not."""
    return [file for file in sorted(folder.rglob("*")) if file.suffix in CONTENT_TYPES and file.is_file()]


def assets_base(folder: Path) -> str:
    """The path under which this state of the folder is served, e.g. "/assets/3f1c0a9b22d4/"."""
    digest = hashlib.sha256()
    for file in page_files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return f"{ASSETS}{digest.hexdigest()[:12]}/"


def preloads(folder: Path, *entries: str) -> list[str]:
    """These modules and all that they import, in the order found: a page that names them is loaded without a chain of waits."""
    found: list[Path] = []
    queue = [folder / entry for entry in entries]
    while queue:
        file = queue.pop(0).resolve()
        if file in found or not file.is_file():
            continue
        found.append(file)
        queue += [file.parent / target for target in _IMPORT.findall(file.read_text())]
    return [file.relative_to(folder.resolve()).as_posix() for file in found]


def _html(folder: Path, file: Path, base: str) -> str:
    """The file with its assets at their hashed path, the names of all pages, and early links to what the first of them needs."""
    text = file.read_text()
    names = " ".join(sorted(page.stem for page in (folder / "pages").glob("*.js")))
    wanted = re.search(r'data-preload="([^"]*)"', text)
    entries = wanted[1].split() if wanted else []
    links = "\n".join(f'<link rel="modulepreload" href="{base}{path}">' for path in preloads(folder, *entries))
    return text.replace(ASSETS, base).replace("@pages@", names).replace("<!-- preloads -->", links)


def _page_path(file: Path) -> str:
    return "/" if file.name == "index.html" else f"/{file.stem}"


def _page(path: str, body: Config, content_type: str, policy: str = "") -> Config:
    # a write to a page's path is a call that does not exist; assets do without this, for every REST call passes by their routes
    read = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    return _route({"path": path, "headers": [read]}, body, content_type, ANEW, policy)


def _route(match: Config, body: Config, content_type: str, caching: str, policy: str = "") -> Config:
    changes = [{"append": set_header("content-type", content_type)}, {"append": set_header("cache-control", caching)}]
    if policy:
        changes.append({"append": set_header("content-security-policy", policy)})
    return {
        "match": match,
        "direct_response": {"status": 200, "body": body},
        "typed_per_filter_config": {TRANSCODER: off(), HEADERS: headers(changes)},
    }


def _moved(path: str, target: str) -> Config:
    """A redirect by a relative address: Envoy's own would name the host without its port."""
    return {
        "match": {"path": path},
        "direct_response": {"status": 302},
        "typed_per_filter_config": {TRANSCODER: off(), HEADERS: headers([{"append": set_header("location", target)}])},
    }
