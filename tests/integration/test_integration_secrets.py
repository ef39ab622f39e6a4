"""Secrets at rest and on the way: tokens are in no file, no answer, no event and no log, and keys can be changed."""

import asyncio
import base64
import json
import logging
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tooloo.integration.v1 import connection_pb2

from mesh import keyfile
from mesh.settings import SettingError
from services.integration.settings import IntegrationSettings
from tests.integration.integration_bench import CALLBACK, came_back, files_with, integration, oidc_settings, refusal
from tests.peers import oidc

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3)]


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    """A real provider."""
    async with oidc.oidc_provider([CALLBACK]) as url:
        yield url


async def test_no_token_stands_in_a_file_an_answer_an_event_or_a_log(
    issuer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After connecting and refreshing, the plain tokens, the verifier and the client secret are found nowhere."""
    caplog.set_level(logging.DEBUG)
    async with integration(tmp_path, **oidc_settings(issuer)) as bench:
        begun = await bench.authorize()
        assert files_with(tmp_path, begun.state), "the search does find what is stored"
        made = await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url)))
        secrets = [*await bench.tokens(), oidc.CLIENT_SECRET]
        checked = await bench.check()
        shown = [str(made), str(checked), str(await bench.connections()), *map(str, await bench.running.told()), caplog.text]
    assert all(len(secret) > 20 for secret in secrets)
    for secret in secrets:
        assert not files_with(tmp_path, secret)
        assert not any(secret in text for text in shown)


async def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, kept over a restart."""
    async with integration(tmp_path) as bench:
        path = bench.running.host.data_folder / keyfile.FILE
        first = path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await bench.running.restart()
        assert path.read_text() == first
    assert len(base64.b64decode(first)) == 32


async def test_a_new_key_takes_over_what_the_old_ones_sealed(issuer: str, tmp_path: Path) -> None:
    """From the key file to a key of the settings, to the next one: connections go on, and the old key may then be dropped."""
    settings = oidc_settings(issuer)
    async with integration(tmp_path, **settings) as bench:
        await bench.connect()
    for current, old in ((KEYS[0], ""), (KEYS[1], KEYS[0]), (KEYS[1], "")):
        async with integration(tmp_path, **settings, encryption_key=current, encryption_old_keys=old) as bench:
            assert (await bench.check()).verified


async def test_a_lost_key_asks_the_user_to_connect_again(issuer: str, tmp_path: Path) -> None:
    """Without the key the service starts, says what to do about the connection, and a new one works."""
    settings = oidc_settings(issuer)
    async with integration(tmp_path, **settings, encryption_key=KEYS[0]) as bench:
        await bench.connect()
    async with integration(tmp_path, **settings, encryption_key=KEYS[2]) as bench:
        refused = await refusal(bench.check())
        assert refused.reason == "STATE_FORBIDS"
        assert "connect again" in refused.message
        assert (await bench.connect()).connection.state == connection_pb2.CONNECTION_STATE_ACTIVE
        assert (await bench.check()).verified


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encryption_key", "short"),
        ("encryption_old_keys", base64.b64encode(b"x" * 31).decode()),
        ("github_api_url", "http://api.github.example"),
        ("slack_webhook_url", "http://hooks.example/services/secret"),
        ("oidc_issuer", "http://id.example"),
        ("notifications_file", "/nowhere/rules.toml"),
        ("providers_file", "/dev/zero/providers.toml"),
    ],
)
async def test_settings_that_cannot_be_used_stop_the_start(tmp_path: Path, name: str, value: str) -> None:
    """Named at the start, not at the first call, and when the settings alone are read, as the doctor does. A secret is not told."""
    env_name = f"TOOLOO_INTEGRATION_{name.upper()}"
    with pytest.raises(SettingError, match=env_name) as told:
        IntegrationSettings.load({env_name: value})
    assert "secret" not in str(told.value)
    with pytest.raises(SettingError, match=env_name):
        async with integration(tmp_path, **{name: value}):
            pass


async def test_a_providers_file_of_ones_own_is_used(issuer: str, tmp_path: Path) -> None:
    """A provider that the operator adds, with its credentials in the file, connects like a shipped one."""
    file = tmp_path / "providers.toml"
    table = {
        "issuer": issuer,
        "client_id": oidc.CLIENT_ID,
        "client_secret": oidc.CLIENT_SECRET,
        "default_scopes": ["openid", "offline_access"],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    text = "\n".join(["[corp]", "discover = true", 'parameters = { prompt = "consent" }', *lines])
    await asyncio.to_thread(file.write_text, text)
    async with integration(tmp_path / "data", providers_file=str(file)) as bench:
        begun = await bench.authorize(provider="corp")
        made = await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url, "grace")))
        assert (made.connection.provider, made.connection.account) == ("corp", "grace")
        assert (await bench.check(provider="corp")).verified
