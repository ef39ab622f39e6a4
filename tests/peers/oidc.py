"""A real OpenID Connect provider (npm `oidc-provider`, certified) as the far end of OAuth tests, and a browser to use it with."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote, urljoin, urlsplit

import httpx

from tests.peers import npm

CLIENT_ID = "tooloo"
CLIENT_SECRET = "a secret with : and % and + in it"
# RFC 6749 §2.3.1: both are form-encoded before they go into Basic
CREDENTIALS = (quote(CLIENT_ID, safe=""), quote(CLIENT_SECRET, safe=""))
_SERVER = npm.HERE / "oidc_server.mjs"
_READY_SECONDS = 30
_MOST_STEPS = 20
_FORM = re.compile(r'<form[^>]*action="([^"]+)"')
_PROMPT = re.compile(r'name="prompt" value="([^"]+)"')
_ABORT = re.compile(r'href="([^"]*/abort)"')


@asynccontextmanager
async def oidc_provider(redirect_uris: Sequence[str], *, rotate: bool = True) -> AsyncIterator[str]:
    """Runs the provider on a free port with the client CLIENT_ID; gives its issuer, e.g. "http://127.0.0.1:40123".

    `rotate` makes every refresh give a new refresh token and kill the old one.
    """
    modules = await asyncio.to_thread(npm.node_modules)
    settings = {
        "module": str(modules / "oidc-provider" / "lib" / "index.js"),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": list(redirect_uris),
        "rotate": rotate,
    }
    process = await asyncio.create_subprocess_exec(
        npm.NODE,
        _SERVER,
        json.dumps(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield await _issuer(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _issuer(process: asyncio.subprocess.Process) -> str:
    """The issuer that the server prints when it is ready."""
    if process.stdout is None:
        raise RuntimeError("the provider's output is not read")
    async with asyncio.timeout(_READY_SECONDS):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the provider ended with {await process.wait()} before it was ready")
    return line.decode().strip()


async def consent(authorization_url: str, login: str = "ada") -> str:
    """Does what a user does: opens the address, signs in, consents. Gives the address the browser is sent back to, unopened."""
    async with httpx.AsyncClient(timeout=60) as browser:
        response = await browser.get(authorization_url)
        for _ in range(_MOST_STEPS):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if not _same_site(target, authorization_url):
                    return target
                response = await browser.get(target)
            else:
                response = await browser.post(_found(_FORM, response), data=_answers(response, login))
    raise RuntimeError("the provider never sent the browser back")


async def deny(authorization_url: str) -> str:
    """The same user says no at the first page."""
    async with httpx.AsyncClient(timeout=60) as browser:
        page = await browser.get(authorization_url, follow_redirects=True)
        response = await browser.get(urljoin(str(page.url), _found(_ABORT, page)))
        while _same_site(target := urljoin(str(response.url), response.headers["location"]), authorization_url):
            response = await browser.get(target)
        return target


async def introspect(issuer: str, token: str) -> bool:
    """Whether the provider calls a token active (RFC 7662)."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{issuer}/token/introspection", data={"token": token}, auth=CREDENTIALS)
        answer.raise_for_status()
        return bool(answer.json()["active"])


async def end(issuer: str, token: str) -> None:
    """Ends an access token before its time, and nothing else: the provider takes it no more."""
    async with httpx.AsyncClient(timeout=60) as client:
        (await client.get(f"{issuer}/only-for-tests/end", params={"token": token})).raise_for_status()


def _same_site(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _found(pattern: re.Pattern[str], page: httpx.Response) -> str:
    match = pattern.search(page.text)
    if not match:
        raise RuntimeError(f"the provider shows another page than expected, status {page.status_code}: {page.text[-500:]}")
    return match[1]


def _answers(page: httpx.Response, login: str) -> dict[str, str]:
    """What the user writes into the form of the page: name and password, or just yes."""
    prompt = _found(_PROMPT, page)
    return {"prompt": prompt, "login": login, "password": "any"} if prompt == "login" else {"prompt": prompt}
