"""The one way out: sends calls to other systems with a time limit, a size limit, and no redirects followed."""

import asyncio
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from services.integration.exchange import Answer, Call, Unreachable

# GitHub refuses callers that do not say who they are
_AGENT = "tooloo-integration"


class Outgoing:
    """An HTTP client that gives plain answers, or Unreachable. Addresses come from settings and metadata, never from callers."""

    def __init__(self, timeout: timedelta, answer_bytes: int) -> None:
        self._timeout = timeout.total_seconds()
        self._limit = answer_bytes
        # what a system wants remembered of one user's call has no place in the next user's
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.AsyncClient(
            timeout=self._timeout, follow_redirects=False, headers={"user-agent": _AGENT}, cookies=no_cookies
        )

    async def send(self, call: Call) -> Answer:
        """The answer, whatever its status; Unreachable when there is none in time or it is too large."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._send(call)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, UnicodeEncodeError) as error:
            # the name of the error only: its text may hold the address, and an address may hold a secret (Slack's webhooks)
            raise Unreachable(type(error).__name__) from error

    async def _send(self, call: Call) -> Answer:
        request = self._client.build_request(call.method, call.url, headers=dict(call.headers), content=call.body)
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._limit:
                    raise Unreachable(f"an answer of more than {self._limit} bytes")
        finally:
            await response.aclose()
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.aclose()
