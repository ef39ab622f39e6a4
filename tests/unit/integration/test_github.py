"""GitHub's answers: every status has its meaning, counts come from links, and no answer breaks the reading."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integration import exchange, github
from services.integration.exchange import Answer, Garbled, Limited, Refused, RemoteError, Unreachable
from services.integration.github import About, Commit, Repository

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE = "https://api.github.example/api/v3"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["owner", "login", "name", "id", "tree", "path", "size", "commit", "author", "date", "sha", "license"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def test_a_call_says_what_github_asks_for() -> None:
    """Media type and version; a token and an etag only when there is one."""
    plain = github.call(f"{BASE}/", "/repos/a/b", "")
    assert plain.url == f"{BASE}/repos/a/b"
    assert plain.headers["x-github-api-version"] == "2022-11-28"
    assert {"authorization", "if-none-match"}.isdisjoint(plain.headers)
    full = github.call(BASE, "/repos/a/b", "t", 'W/"x"')
    assert (full.headers["authorization"], full.headers["if-none-match"]) == ("Bearer t", 'W/"x"')


@given(owner=st.text(min_size=1), branch=st.text(min_size=1))
def test_no_name_leaves_its_place_in_the_path(owner: str, branch: str) -> None:
    """Slashes, dots, question marks and spaces of a name are quoted."""
    path = github.commits_path(owner, "repo", branch, 5)
    assert path.count("/") == 4
    assert path.count("?") == 1
    assert path.count("&") == 1


@pytest.mark.parametrize(
    ("given_answer", "wait"),
    [
        (answer({}, 429, retry_after="9"), timedelta(seconds=9)),
        (answer({}, 403, retry_after="9"), timedelta(seconds=9)),
        (
            answer({}, 403, x_ratelimit_remaining="0", x_ratelimit_reset=str(int(NOW.timestamp()) + 60)),
            timedelta(seconds=60),
        ),
        (answer({}, 403, x_ratelimit_remaining="0", x_ratelimit_reset="never"), exchange.UNNAMED_WAIT),
        (answer({"message": "You have exceeded a secondary rate limit."}, 403), exchange.UNNAMED_WAIT),
        (answer({}, 429), exchange.UNNAMED_WAIT),
    ],
)
def test_a_limit_says_how_long(given_answer: Answer, wait: timedelta) -> None:
    """Retry-After, else the reset time, else a minute."""
    with pytest.raises(Limited) as caught:
        github.check(given_answer, NOW)
    assert caught.value.wait == wait


@pytest.mark.parametrize(
    ("status", "error"), [(304, Refused), (401, Refused), (403, Refused), (404, Refused), (422, Refused), (500, Unreachable)]
)
def test_a_status_has_its_meaning(status: int, error: type[RemoteError]) -> None:
    """A no of GitHub's is a refusal with its message, a failure is worth another try."""
    with pytest.raises(error):
        github.check(answer({"message": "because"}, status), NOW)
    github.check(answer({}, 200), NOW)


@pytest.mark.parametrize(
    ("link", "body", "number"),
    [
        ('<https://x/pulls?state=open&per_page=1&page=2>; rel="next", <https://x/pulls?page=37&per_page=1>; rel="last"', [1], 37),
        ('<https://x/pulls?page=1>; rel="first"', [1], 1),
        ("", [1], 1),
        ("", [], 0),
    ],
)
def test_a_count_is_the_number_of_the_last_page(link: str, body: list[int], number: int) -> None:
    """With one item a page."""
    assert github.count(answer(body, link=link)) == number


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (f"{BASE}/repositories/7", "/repositories/7"),
        ("/api/v3/repositories/7", "/repositories/7"),
        ("repositories/7", "/repositories/7"),
    ],
)
def test_a_redirect_within_github_is_followed(location: str, path: str) -> None:
    """Whole or relative."""
    assert github.moved_to(BASE, answer({}, 301, location=location)) == path
    assert github.moved_to(BASE, answer({}, 200, location=location)) == ""


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/", "http://api.github.example/api/v3/x", f"{BASE}.evil.example/x", "//evil.example", "/x", "../x"],
)
def test_a_redirect_elsewhere_is_not_followed(location: str) -> None:
    """The token would go along, and the address might be one inside our own network."""
    with pytest.raises(Garbled):
        github.moved_to(BASE, answer({}, 302, location=location))


@given(body=JSON)
def test_no_answer_breaks_the_reading(body: object) -> None:
    """Whatever JSON comes: values that can be stored, or a RemoteError."""
    reads = (
        github.read_about,
        github.read_languages,
        lambda value: github.read_branches(value, 3),
        lambda value: github.read_tree(value, 3),
        github.read_readme,
        github.read_commits,
        github.count,
    )
    for read in reads:
        try:
            found = read(answer(body))
        except RemoteError:
            continue
        repr(found).encode()


@given(count=st.integers())
def test_counts_stay_in_what_a_field_can_hold(count: int) -> None:
    """Neither negative nor beyond 64 bits."""
    assert 0 <= github.read_languages(answer({"C": count}))["C"] <= github.LARGEST_COUNT


def about(issues: int) -> About:
    """A repository with so many issues and pull requests."""
    return About("o", "r", 1, "", "", False, False, False, "", (), 0, 0, issues, "main", None)


@given(issues=st.integers(0, 1000), pulls=st.integers(0, 1000))
def test_open_issues_are_what_is_left_without_pulls(issues: int, pulls: int) -> None:
    """GitHub counts both as issues; between two calls the numbers may cross, which makes no negative count."""
    assert Repository(about(issues), pulls).open_issues == max(0, issues - pulls)


def test_the_head_is_the_newest_commit() -> None:
    """None in an empty repository, for which GitHub answers 409."""
    assert github.read_commits(answer({"message": "Git Repository is empty."}, 409)) == ()
    commits = (Commit("a", "", "", None), Commit("b", "", "", None))
    assert Repository(about(0), 0, commits=commits).head_sha == "a"
    assert Repository(about(0), 0).head_sha == ""
