"""The pages as routes: their paths, what changes them, and what the first page names early."""

from pathlib import Path

from envoy.pages import LARGEST_FILE, assets_base, page_routes, preloads, site_routes


def a_folder(root: Path) -> Path:
    """A page, what it loads, and a file that is not served."""
    for name, text in {
        "index.html": '<html data-pages="@pages@" data-preload="app.js"><!-- preloads --><script src="/assets/app.js"></script>',
        "app.js": "import { a } from './lib/a.js'\nconst later = () => import('./pages/one.js')\n",
        "lib/a.js": "import {\n  b,\n} from '../lib/b.js'\n",
        "lib/b.js": "export * from './a.js'\n",
        "pages/one.js": "",
        "pages/two.js": "",
        "pages/two/part.js": "",
        "lib/NOTES": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_each_file_has_a_path_under_the_hash_of_all(tmp_path: Path) -> None:
    """But pages, which stand where people look for them."""
    folder = a_folder(tmp_path)
    base = assets_base(folder)
    paths = {route["match"]["path"] for route in page_routes(folder)}
    assets = {"app.js", "lib/a.js", "lib/b.js", "pages/one.js", "pages/two.js", "pages/two/part.js"}
    assert paths == {"/", "/docs"} | {base + asset for asset in assets}


def test_any_change_gives_everything_a_new_path(tmp_path: Path) -> None:
    """A module that is kept for ever imports its neighbours by relative path, so they must all move together."""
    folder = a_folder(tmp_path)
    before = assets_base(folder)
    assert assets_base(folder) == before
    (folder / "lib" / "b.js").write_text("export const b = 2\n")
    assert assets_base(folder) != before


def test_the_html_names_its_assets_its_pages_and_what_to_load_early(tmp_path: Path) -> None:
    """Early is what the named modules import, and not what they load later."""
    folder = a_folder(tmp_path)
    base = assets_base(folder)
    html = next(route for route in page_routes(folder) if route["match"]["path"] == "/")["direct_response"]["body"]["inline_string"]
    assert f'<script src="{base}app.js">' in html
    assert 'data-pages="one two"' in html
    assert html.count('rel="modulepreload"') == 3
    assert preloads(folder, "app.js") == ["app.js", "lib/a.js", "lib/b.js"]


def test_a_mesh_without_pages_has_no_routes_for_them(tmp_path: Path) -> None:
    """A folder that is not there is no fault."""
    assert list(page_routes(tmp_path / "none")) == []


def test_each_file_of_the_site_has_a_path_below_docs(tmp_path: Path) -> None:
    """But licences, and what is too large for Envoy, which would not start."""
    for name in ("index.html", "how-to/one.html", "search.json", "assets/LICENSE", "assets/huge.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with (tmp_path / "assets" / "huge.js").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    paths = {route["match"]["path"] for route in site_routes(tmp_path)}
    assert paths == {"/docs/", "/docs/index.html", "/docs/how-to/one.html", "/docs/search.json"}


def test_where_no_site_was_built_a_page_says_how(tmp_path: Path) -> None:
    """It is the only one."""
    (route,) = site_routes(tmp_path / "none")
    assert route["match"]["path"] == "/docs/"
    assert "make docs" in route["direct_response"]["body"]["inline_string"]
