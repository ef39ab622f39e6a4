"""The condition under which JetStream's acknowledgement is a promise: `sync_interval: always` on every server.

Only the monitoring endpoint tells it (`/jsz?config=true`, field `config.sync_always`); JetStream's own API does not. By default a
server flushes every two minutes, and what it acknowledged in between is lost in a power cut.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import httpx

from bus.jetstream.settings import NatsSettings
from mesh.settings import SettingError

log = logging.getLogger(__name__)
_SECONDS = 5.0
_ADVICE = "set `jetstream { sync_interval: always }` in its nats.conf and restart it"


class NotSynced(SettingError):
    """A server acknowledges before it syncs."""


async def check_sync(settings: NatsSettings) -> None:
    """SettingError unless every server that answers syncs every write, and those that answer are a majority of the cluster."""
    # in threads: making an HTTP client alone takes longer than a commit
    asked = await asyncio.gather(*(asyncio.to_thread(_ask, address) for address in settings.monitors))
    answers = [answer for answer in asked if answer is not None]
    if not answers:
        raise SettingError(
            f"no NATS monitoring endpoint answers at {', '.join(settings.monitors) or '(none named)'}, so nothing says that writes "
            f"are synced; set http_port in nats.conf and {NatsSettings.env_name('monitors')} to its address"
        )
    for address, found in answers:
        if not found.get("config", {}).get("sync_always"):
            raise NotSynced(f"the NATS server at {address} acknowledges before it syncs; {_ADVICE}")
    _check_majority(settings, [found for _, found in answers])


def _check_majority(settings: NatsSettings, found: Sequence[dict[str, Any]]) -> None:
    size = max((int(each.get("meta_cluster", {}).get("cluster_size", 1)) for each in found), default=1)
    asked = len({each["server_id"] for each in found})
    if asked * 2 <= size:
        raise SettingError(
            f"{asked} of the {size} servers of the NATS cluster say how they sync; name the monitoring address of each in "
            f"{NatsSettings.env_name('monitors')}"
        )


def _ask(address: str) -> tuple[str, dict[str, Any]] | None:
    try:
        url = f"{address.rstrip('/')}/jsz"
        response = httpx.get(url, params={"config": "true"}, timeout=_SECONDS, trust_env=False)
        return address, response.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        log.warning("the NATS monitoring endpoint %s does not answer: %s", address, error)
        return None
