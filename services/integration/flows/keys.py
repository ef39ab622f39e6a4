"""The keys of the vault: from the settings or the key file; what older keys sealed is sealed anew at start."""

import logging
import os

from mesh.db import Transaction
from mesh.host import Host
from mesh.settings import SettingError
from services.integration import keyfile, vault
from services.integration.connection import Connection
from services.integration.settings import IntegrationSettings
from services.integration.store import connections as store
from services.integration.vault import KeyFormatError, Vault, VaultError

log = logging.getLogger(__name__)
KEY_FILE = "encryption.key"


async def open_vault(host: Host, settings: IntegrationSettings) -> Vault:
    """The vault with every key at hand; connections that older keys sealed are sealed under the current one."""
    opened = Vault(_keys(host, settings), os.urandom)
    await host.db.write(lambda tx: _reseal(tx, opened))
    return opened


def _keys(host: Host, settings: IntegrationSettings) -> list[bytes]:
    """The current key first. A key file that was made before the settings had a key still opens what it sealed."""
    path = host.data_folder / KEY_FILE
    given = [_read(settings, "encryption_key", settings.encryption_key)] if settings.encryption_key else []
    old = [_read(settings, "encryption_old_keys", text) for text in settings.encryption_old_keys]
    made = [keyfile.load_or_make(path)] if not given or path.exists() else []
    return [*given, *made, *old]


def _read(settings: IntegrationSettings, name: str, text: str) -> bytes:
    try:
        return vault.read_key(text)
    except KeyFormatError as error:
        raise SettingError(f"{settings.env_name(name)} holds no key: {error}") from error


async def _reseal(tx: Transaction, opened: Vault) -> None:
    for connection in await store.connections_under_other_keys(tx, opened.current):
        fresh = _resealed(connection, opened)
        if fresh:
            await store.reseal(tx, fresh)


def _resealed(connection: Connection, opened: Vault) -> Connection | None:
    try:
        return connection.resealed(opened)
    except VaultError as error:
        log.warning("%s stays as it is and must be connected anew: %s", connection.place, error)
        return None
