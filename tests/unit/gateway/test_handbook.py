"""The pieces that the site is made of: its navigation, its Markdown, and the forms of a call."""

import json
from pathlib import Path

import pytest

from gateway.handbook import examples, markdown, navigation, site, usage
from mesh import contracts
from tests.support import links

PAGES = ["index.md", "found.md", "how-to/add.md", "how-to/zero.md", "reference/calls/bus.md", "settings.md"]


def test_a_pattern_takes_what_no_entry_names() -> None:
    """A page that is named stands where it is named, also when a pattern comes before it; a name without a page is left out."""
    wanted = [
        {"Start": ["index.md"]},
        {"How": ["how-to/zero.md", "how-to/gone.md", "how-to/*.md"]},
        {"Rest": ["*.md", "settings.md"]},
    ]
    assert navigation.expand(wanted, PAGES) == [
        {"Start": ["index.md"]},
        {"How": ["how-to/zero.md", "how-to/add.md"]},
        {"Rest": ["found.md", "settings.md"]},
    ]


def test_a_star_stands_for_no_slash_and_an_empty_section_is_left_out() -> None:
    """So what a new folder holds is missed by the patterns there are, which a test of the site finds."""
    assert navigation.expand([{"Deep": ["reference/*.md"]}, {"Calls": ["reference/*/*.md"]}], PAGES) == [
        {"Calls": ["reference/calls/bus.md"]}
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a `b_*c*` d", "a `b_*c*` d"),
        ("2^31 * x_y_z", "2&#94;31 &#42; x&#95;y&#95;z"),
        ("users/{id}", "users/&#123;id&#125;"),
        ("one ` alone", "one &#96; alone"),
    ],
)
def test_a_comment_is_text(text: str, shown: str) -> None:
    """Only code between backticks means anything; no letter becomes a format."""
    assert markdown.prose(text) == shown


def test_code_with_a_bar_does_not_end_its_cell() -> None:
    """A regular expression with alternatives stands in a table."""
    assert markdown.table(("rule",), [[markdown.code("^(a|b)$")]]).splitlines()[-1].count("|") == 2


def test_the_forms_of_a_call_say_the_same() -> None:
    """By curl with its path filled, by its verb, by the stubs."""
    method = contracts.methods()["tooloo.learning.v1.LearningService/GetSession"]
    request = {"userId": "ada", "sessionId": "42"}
    assert usage.curl(method, request) == "curl -s 'http://localhost:3000/api/v1/training/sessions/42?userId=ada'"
    assert usage.command(method, request) == f"tooloo learning get-session '{json.dumps(request)}'"
    assert "LearningServiceStub(channel).GetSession(GetSessionRequest(user_id='ada', session_id='42'))" in usage.stub(
        method, request
    )


def test_what_is_no_argument_of_a_message_is_parsed() -> None:
    """A duration is text in JSON and a message in Python."""
    method = contracts.methods()["tooloo.learning.v1.LearningService/ListDueCards"]
    program = usage.stub(method, {"userId": "ada", "within": "60s"})
    assert "ParseDict({'userId': 'ada', 'within': '60s'}, ListDueCardsRequest())" in program
    assert "from google.protobuf.json_format import ParseDict" in program


def test_a_link_that_leaves_the_documentation_becomes_its_path() -> None:
    """The site holds no other files; links within it and to the web stay."""
    text = "[stubs](../../proto/README.md#x), [here](b.md#y), [web](https://example.org/a.md), [above](#z)"
    assert (
        site.within(text, "how-to/a.md")
        == "stubs (`proto/README.md`), [here](b.md#y), [web](https://example.org/a.md), [above](#z)"
    )


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A file that is missing, and a heading that a file has not; what stands in a block of code is no link."""
    (tmp_path / "b.md").write_text("# Two words\n\n## Named { #given.name }\n")
    page = tmp_path / "a.md"
    page.write_text("[1](b.md#two-words) [2](b.md#given.name) [3](c.md) [4](b.md#three)\n\n```\n[5](d.md)\n```\n")
    assert list(links.broken(page)) == ["c.md", "b.md#three"]


def test_every_example_says_what_it_is() -> None:
    """In its docstring, with the command that runs it."""
    assert all("python" in text for text in examples.page().split("\n## ")[1:])
