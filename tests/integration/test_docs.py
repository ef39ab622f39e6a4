"""The documentation: its reference names everything that there is, its navigation every page, and no link leads nowhere."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from gateway.handbook import calls, commands, events, examples, markdown, navigation, samples, site, usage
from gateway.reference import sections
from mesh import contracts
from mesh.boundary import violations_of
from mesh.catalogue import SERVICES
from mesh.cli import app
from tests.support import links

ROOT = site.ROOT
PAGES = sorted((ROOT / "docs").rglob("*.md"))
METHODS = contracts.methods()
SERVICE_NAMES = {spec.name for spec in SERVICES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> dict[str, str]:
    """The pages of the reference by name."""
    return site.reference(await events.listeners())


@pytest.fixture(scope="module")
def assembled(made: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the site is built from."""
    return site.assemble(tmp_path_factory.mktemp("docs") / "source", made).parent


def test_every_rpc_has_an_entry_on_the_page_of_its_service(made: dict[str, str]) -> None:
    """By its full name, with its route and a call to copy."""
    owned = [(spec, method) for spec in SERVICES for method in calls.methods_of(spec)]
    assert len(owned) == len(METHODS) > 100
    for spec, method in owned:
        page = made[f"reference/calls/{spec.name}.md"]
        assert f"{{ #{method.name.replace('/', '.').lower()} }}" in page
        assert f"`{method.name}`" in page
        assert method.http is None or f"`{method.http.verb} {method.http.path}`" in page


def test_every_field_of_every_request_has_a_row(made: dict[str, str]) -> None:
    """Those of messages inside, too."""
    for spec in SERVICES:
        page = made[f"reference/calls/{spec.name}.md"]
        own = [contracts.pool().FindMessageTypeByName(each.request.DESCRIPTOR.full_name) for each in calls.methods_of(spec)]
        for field in (field for message in own if message.full_name.startswith("tooloo.") for field in message.fields):
            assert f"| `{field.json_name}` |" in page, field.full_name


def test_every_event_has_an_entry_that_says_who_tells_and_who_hears(made: dict[str, str]) -> None:
    """Analytics hears everything; learning what providers do."""
    page = made["reference/events.md"]
    for event in contracts.catalogue().values():
        entry = page[page.index(f"{{ #{event.type} }}") :].split("\n## ", 1)[0]
        assert f"told by **{event.owner}** · heard by" in entry
        assert "analytics" in entry
    assert "heard by analytics, learning" in page[page.index("{ #provider.selected }") :].split("\n## ", 1)[0]


def test_every_setting_has_a_row(made: dict[str, str]) -> None:
    """By the name that it has in the environment."""
    named = [row.env for section in sections() for row in section.documented()]
    assert len(named) > 50
    assert [name for name in named if f"| `{name}` |" not in made["settings.md"]] == []


def test_every_command_has_an_entry_with_its_options(made: dict[str, str]) -> None:
    """As the command itself tells them; those of a service are on a page of their own."""
    told = list(app.tree())
    assert len(told) > len(METHODS)
    for command in told:
        name = (
            f"reference/verbs/{command.path[0]}.md"
            if command.path and command.path[0] in SERVICE_NAMES
            else "reference/commands.md"
        )
        page = made.get(name, made["reference/commands.md"])
        entry = page[page.index(f"{{ #{commands.anchor(command.path)} }}") :]
        assert all(markdown.code(option) in entry for option, _ in command.options), command.path


def test_every_example_is_on_the_page_of_examples(made: dict[str, str]) -> None:
    """With what it says of itself."""
    shown = list(examples.programs())
    assert len(shown) >= 4
    assert [path for path in shown if (path.parent.name if path.stem == "__main__" else path.name) not in made["examples.md"]] == []


def test_every_error_reason_has_an_entry(made: dict[str, str]) -> None:
    """But the one that is never sent."""
    reasons = [name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number]
    assert len(reasons) > 20
    assert [name for name in reasons if f"{{ #{name.lower()} }}" not in made["reference/errors.md"]] == []


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.request.DESCRIPTOR.full_name != usage.HTTP_BODY]
)
def test_the_example_of_a_call_keeps_the_rules_of_the_contract(name: str) -> None:
    """What the page shows to copy is not refused for its fields, and the program is one."""
    method = METHODS[name]
    request = samples.sample(method.request)
    assert violations_of(samples.parsed(method.request, request)) == []
    compile(usage.stub(method, request), name, "exec")
    assert method.http is None or "{" not in usage.curl(method, {}).split(" -d ")[0]


def test_every_page_is_in_the_navigation_once(assembled: Path) -> None:
    """Those written by hand and those that are made; the order is that of docs/site.toml."""
    config = _config(assembled)
    there = {path.relative_to(assembled / "docs").as_posix() for path in (assembled / "docs").rglob("*.md")}
    shown = list(navigation.pages(config["nav"]))
    assert len(shown) == len(set(shown))
    assert set(shown) == there
    assert [title for entry in config["nav"] for title in entry] == ["Start", "Tutorial", "How to", "Reference", "Explanation"]


def _config(assembled: Path) -> dict[str, Any]:
    config: dict[str, Any] = tomllib.loads((assembled / "zensical.toml").read_text())["project"]
    return config


def test_the_site_builds_and_loads_nothing_from_elsewhere(assembled: Path) -> None:
    """Every link and anchor of every page leads somewhere, or zensical refuses; scripts, styles and fonts are its own."""
    site.build(assembled / "zensical.toml")
    pages = list((assembled / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    loads = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//|<link[^>]+href=\"?(?:https?:)?//[^>]+stylesheet")
    assert [page.name for page in pages if loads.search(page.read_text())] == []
    # the door's policy lets none run that stands within a page
    assert [page.name for page in pages if re.search(r"<script>|\son\w+=\"|\sstyle=\"", page.read_text())] == []
    styles = "".join(path.read_text() for path in (assembled / "site").rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    """The message names the page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Here\n\n[nowhere](#there)\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "Here"\nnav = ["index.md"]\n')
    with pytest.raises(site.BrokenError, match=r"index\.md"):
        site.build(tmp_path / "zensical.toml")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_of_a_page_leads_nowhere(page: Path) -> None:
    """As the file is read in the repository."""
    assert list(links.broken(page)) == []
