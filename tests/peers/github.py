"""A far end that speaks GitHub's REST API, held to GitHub's own OpenAPI description (npm `@octokit/openapi`).

It serves the examples of that description, and checks every request and every answer against it.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.peers import npm, web
from tests.peers.web import Peer, Reply, Seen

OWNER, REPO, HEAD = "octocat", "Hello-World", "6dcb09b5b57875f334f61aebed695e2e4193db5e"
_REPOSITORY = "/repos/{owner}/{repo}"
_TEMPLATES = (
    _REPOSITORY,
    f"{_REPOSITORY}/languages",
    f"{_REPOSITORY}/branches",
    f"{_REPOSITORY}/pulls",
    f"{_REPOSITORY}/commits",
    f"{_REPOSITORY}/readme",
    f"{_REPOSITORY}/git/trees/{{tree_sha}}",
    "/user",
    "/applications/{client_id}/grant",
)


@cache
def description() -> dict[str, Any]:
    """GitHub's OpenAPI description of its REST API."""
    loaded: dict[str, Any] = json.loads((npm.node_modules() / npm.GITHUB_OPENAPI).read_text())
    return loaded


@cache
def _registry() -> Registry[Any]:
    resources: list[tuple[str, Resource[Any]]] = [("github", DRAFT4.create_resource(description()))]
    return Registry().with_resources(resources)


def _deref(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = description()
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def _check(pointer: str, value: Any) -> None:
    """Raises unless the value fits the schema at a JSON pointer into the description."""
    validator = OAS30Validator({"$ref": f"github#{pointer}"}, registry=_registry())
    for error in validator.iter_errors(value):
        raise AssertionError(f"not as GitHub describes it: {error.message[:500]} at {list(error.absolute_path)}")


def _template_of(path: str) -> str:
    for template in _TEMPLATES:
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            return template
    raise AssertionError(f"GitHub has no {path}")


def _check_request(seen: Seen, template: str) -> None:
    operation = description()["paths"][template][seen.method.lower()]
    known = {parameter["name"]: parameter for parameter in map(_deref, operation.get("parameters", ()))}
    for name, values in parse_qs(urlsplit(seen.path).query).items():
        if name not in known:
            raise AssertionError(f"{template} knows no parameter {name}")
        schema = known[name]["schema"]
        OAS30Validator(schema).validate(int(values[0]) if schema["type"] == "integer" else values[0])
    if seen.body:
        escaped = template.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
        pointer = f"/paths/{escaped}/{seen.method.lower()}/requestBody/content/application~1json/schema"
        _check(pointer, json.loads(seen.body))
    # "API requests without a User-Agent header will be rejected"
    if not seen.headers.get("user-agent") or "json" not in seen.headers.get("accept", ""):
        raise AssertionError("a request must say who asks and which media type it takes")


def _example(template: str) -> Any:
    content = description()["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]
    return copy.deepcopy(_deref(next(iter(content["examples"].values())))["value"])


@dataclass
class GithubPeer:
    """A repository to be read; tests change `bodies`, or put whole `replies` in their place.

    `headers` are those that an answer has beside its own, as `link`.
    `moves` redirects a path to another, as GitHub does for a renamed repository; `replies_to` answers an authorization.
    """

    peer: Peer = field(default_factory=lambda: Peer(""))
    bodies: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    moves: dict[str, str] = field(default_factory=dict)
    replies_to: dict[str, Reply] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its address, for the setting github_api_url."""
        return self.peer.url

    @property
    def asked(self) -> list[str]:
        """The paths asked for so far, with their queries."""
        return [seen.path for seen in self.peer.seen]

    def answer(self, seen: Seen) -> Reply:
        """What GitHub would answer."""
        path = urlsplit(seen.path).path
        if path in self.moves:
            return Reply(301, headers={"location": self.url + self.moves[path]})
        template = _template_of(path)
        _check_request(seen, template)
        name = template.removeprefix(_REPOSITORY).lstrip("/") or "repository"
        if reply := self.replies_to.get(seen.headers.get("authorization", "")) or self.replies.get(name):
            return reply
        if template.startswith(_REPOSITORY) and not self._holds(path):
            return Reply(404, b'{"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}')
        if seen.method == "DELETE":
            return Reply(204)
        body = self.bodies.setdefault(name, _first(name, template))
        escaped = template.replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
        _check(f"/paths/{escaped}/get/responses/200/content/application~1json/schema", body)
        raw = json.dumps(body).encode()
        etag = f'W/"{hashlib.sha256(raw).hexdigest()}"'
        more = self.headers.get(name, {})
        if seen.headers.get("if-none-match") == etag:
            return Reply(304, headers={"etag": etag, **more})
        return Reply(200, raw, {"etag": etag, "content-type": "application/json; charset=utf-8", **more})

    def _holds(self, path: str) -> bool:
        """Whether a path leads into the one repository, by its first name or by the one a test has given it."""
        names = {REPO, self.bodies.get("repository", {}).get("name", REPO)}
        return any(f"{path}/".startswith(f"/repos/{OWNER}/{name}/") for name in names)


def _first(name: str, template: str) -> Any:
    """GitHub's own example, mended where it does not fit GitHub's own schema."""
    body = _example(template)
    if name == "repository":
        body |= {"default_branch": "main", "open_issues_count": 5, "language": "C"}
        body.pop("source")
    elif name == "branches":
        body[0].pop("protection")
    elif name == "pulls":
        body[0]["requested_teams"] = []
    elif name == "user":
        body["user_view_type"] = "private"
    return body


@contextmanager
def github_peer() -> Iterator[GithubPeer]:
    """Runs it on a free port."""
    github = GithubPeer()
    with web.serving(github.answer) as github.peer:
        yield github
