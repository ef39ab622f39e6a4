"""GitHub's REST API (version 2022-11-28), without I/O: which calls read a repository, and what their answers mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urljoin

from services.integration import exchange
from services.integration.exchange import Answer, Call, Garbled, Refused, Unreachable, clean

API_VERSION = "2022-11-28"
LARGEST_COUNT = 2**53
# as in our contract; GitHub allows 39 and 100
LONGEST_NAME = 100
MISSING = (exchange.NOT_FOUND, exchange.GONE, exchange.UNAVAILABLE_FOR_LEGAL_REASONS)
REDIRECTS = (301, 302, 307, 308)
MOST_REDIRECTS = 3
LOWEST_ERROR = 300
_LAST_PAGE = re.compile(r'<[^>]*[?&]page=(\d{1,9})[^>]*>;\s*rel="last"')
_TEXT = 4096


@dataclass(frozen=True)
class Branch:
    """A branch and the commit at its end."""

    name: str
    sha: str
    protected: bool


@dataclass(frozen=True)
class Entry:
    """A file, folder or submodule: `kind` is "blob", "tree" or "commit"."""

    path: str
    kind: str
    size: int


@dataclass(frozen=True)
class Commit:
    """A commit's id, first line, author and time."""

    sha: str
    title: str
    author: str
    time: datetime | None


@dataclass(frozen=True)
class About:
    """What GET /repos/{owner}/{repo} tells. `issues_and_pulls` counts both, as GitHub does."""

    owner: str
    repo: str
    github_id: int
    url: str
    description: str
    private: bool
    archived: bool
    fork: bool
    license: str
    topics: tuple[str, ...]
    stars: int
    forks: int
    issues_and_pulls: int
    default_branch: str
    pushed: datetime | None


@dataclass(frozen=True)
class Repository:
    """Everything that one sync reads."""

    about: About
    open_pull_requests: int
    languages: Mapping[str, int] = field(default_factory=dict)
    branches: tuple[Branch, ...] = ()
    branches_truncated: bool = False
    tree: tuple[Entry, ...] = ()
    tree_truncated: bool = False
    readme_path: str = ""
    commits: tuple[Commit, ...] = ()

    @property
    def head_sha(self) -> str:
        """The commit at the end of the default branch; "" in an empty repository."""
        return self.commits[0].sha if self.commits else ""

    @property
    def open_issues(self) -> int:
        """Open issues without pull requests."""
        return max(0, self.about.issues_and_pulls - self.open_pull_requests)


def call(base: str, path: str, token: str, etag: str = "") -> Call:
    """A GET of the REST API; with an etag it is conditional, and a 304 costs no rate limit."""
    headers = {"accept": "application/vnd.github+json", "x-github-api-version": API_VERSION}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if etag:
        headers["if-none-match"] = etag
    return Call("GET", base.rstrip("/") + path, headers)


def repository_path(owner: str, repo: str) -> str:
    """Path of a repository."""
    return f"/repos/{quote(owner, safe='')}/{quote(repo, safe='')}"


def tree_path(owner: str, repo: str, sha: str) -> str:
    """Path of all files at a commit."""
    return f"{repository_path(owner, repo)}/git/trees/{quote(sha, safe='')}?recursive=1"


def commits_path(owner: str, repo: str, branch: str, limit: int) -> str:
    """Path of the latest commits of a branch."""
    return f"{repository_path(owner, repo)}/commits?sha={quote(branch, safe='')}&per_page={limit}"


def moved_to(base: str, answer: Answer) -> str:
    """Path to which GitHub redirects a renamed repository; "" when it does not. Garbled when it would lead to another address."""
    location = answer.headers.get("location", "")
    if answer.status not in REDIRECTS or not location:
        return ""
    target = urljoin(base + "/", location)
    if not target.startswith(base + "/"):
        raise Garbled("a redirect to another address")
    return target.removeprefix(base)


def check(answer: Answer, now: datetime) -> None:
    """Raises what a status other than 2xx means: Limited, Refused or Unreachable."""
    if exchange.OK <= answer.status < LOWEST_ERROR:
        return
    if limit := exchange.limit_in(answer, now):
        raise limit
    if answer.status >= exchange.SERVER_ERROR:
        raise Unreachable(f"status {answer.status}")
    raise Refused(answer.status, f"status {answer.status}", _message(answer))


def _message(answer: Answer) -> str:
    return clean(answer.member("message"))


def count(answer: Answer) -> int:
    """How many there are, from a list asked with per_page=1: the number of the last page, else the length of the only one."""
    match = _LAST_PAGE.search(answer.headers.get("link", ""))
    return int(match[1]) if match else len(_list(answer))


def read_about(answer: Answer) -> About:
    """The repository itself."""
    body = answer.object()
    try:
        return About(
            owner=clean(body["owner"]["login"], LONGEST_NAME),
            repo=clean(body["name"], LONGEST_NAME),
            github_id=_number(body["id"]),
            url=clean(body.get("html_url", ""), _TEXT),
            description=clean(body.get("description"), _TEXT),
            private=body.get("private") is True,
            archived=body.get("archived") is True,
            fork=body.get("fork") is True,
            license=_license(body.get("license")),
            topics=tuple(clean(topic) for topic in body.get("topics") or ()),
            stars=_number(body.get("stargazers_count")),
            forks=_number(body.get("forks_count")),
            issues_and_pulls=_number(body.get("open_issues_count")),
            default_branch=clean(body.get("default_branch")),
            pushed=_time(body.get("pushed_at")),
        )
    except (KeyError, TypeError) as error:
        raise Garbled(f"a repository without {error}") from error


def read_languages(answer: Answer) -> dict[str, int]:
    """Bytes of source by language."""
    return {clean(name): _number(size) for name, size in answer.object().items()}


def read_branches(answer: Answer, limit: int) -> tuple[tuple[Branch, ...], bool]:
    """The branches of the first page, up to the limit, and whether there are more."""
    rows = _list(answer)
    found = tuple(
        Branch(clean(_of(row, "name")), clean(_of(_of(row, "commit"), "sha")), _of(row, "protected") is True) for row in rows
    )
    return found[:limit], len(found) > limit or 'rel="next"' in answer.headers.get("link", "")


def read_tree(answer: Answer, limit: int) -> tuple[tuple[Entry, ...], bool]:
    """Files and folders, up to the limit, and whether there are more."""
    body = answer.object()
    rows = body.get("tree")
    if not isinstance(rows, list):
        raise Garbled("a tree without entries")
    return tuple(_entry(row) for row in rows[:limit]), len(rows) > limit or body.get("truncated") is True


def _entry(row: Any) -> Entry:
    return Entry(clean(_of(row, "path"), _TEXT), clean(_of(row, "type")), _number(_of(row, "size")))


def read_readme(answer: Answer) -> str:
    """Path of the README; "" when GitHub says that there is none."""
    return "" if answer.status == exchange.NOT_FOUND else clean(answer.object().get("path", ""), _TEXT)


def read_commits(answer: Answer) -> tuple[Commit, ...]:
    """The commits, newest first; none when GitHub says that the repository is empty (409)."""
    if answer.status == exchange.CONFLICT:
        return ()
    return tuple(_commit(row) for row in _list(answer))


def _commit(row: Any) -> Commit:
    inner = _of(row, "commit")
    author = _of(inner, "author")
    title = str(_of(inner, "message") or "").split("\n", 1)[0]
    return Commit(clean(_of(row, "sha")), clean(title), clean(_of(author, "name")), _time(_of(author, "date")))


def _list(answer: Answer) -> list[Any]:
    body = answer.json()
    if not isinstance(body, list):
        raise Garbled("no list where one is due")
    return body


def _of(value: Any, key: str) -> Any:
    """A member of a JSON object, None when there is none: GitHub leaves out or nulls what it does not know."""
    return value.get(key) if isinstance(value, dict) else None


def _license(value: Any) -> str:
    spdx = clean(_of(value, "spdx_id"))
    return "" if spdx == "NOASSERTION" else spdx


def _number(value: Any) -> int:
    """A count between 0 and 2^53; 0 for what is none."""
    return max(0, min(value, LARGEST_COUNT)) if isinstance(value, int) else 0


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
