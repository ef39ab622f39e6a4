"""The static pages as routes: Envoy answers them itself, so they are there when every service is down."""

from collections.abc import Iterator
from pathlib import Path

from envoy.filters import HEADERS, TRANSCODER, Config, headers, off, set_header

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "application/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes(folder: Path) -> Iterator[Config]:
    """One route for each file: index.html is "/", another page its name without suffix, everything else "/assets/<name>"."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix in CONTENT_TYPES:
            yield _page(_path(file), file)


def _path(file: Path) -> str:
    if file.name == "index.html":
        return "/"
    return f"/{file.stem}" if file.suffix == ".html" else f"/assets/{file.name}"


def _page(path: str, file: Path) -> Config:
    changes = [
        {"append": set_header("content-type", CONTENT_TYPES[file.suffix])},
        {"append": set_header("cache-control", "no-cache")},
    ]
    read = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    return {
        "match": {"path": path, "headers": [read]},
        "direct_response": {"status": 200, "body": {"filename": str(file)}},
        "typed_per_filter_config": {TRANSCODER: off(), HEADERS: headers(changes)},
    }
