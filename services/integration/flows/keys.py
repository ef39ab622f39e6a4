"""The keys of the vault: from the settings or the key file; what older keys sealed is sealed anew at start."""

import logging
import os

from mesh import keyfile
from mesh.db import Transaction
from mesh.host import Host
from mesh.vault import Vault, VaultError
from services.integration.connection import Connection
from services.integration.settings import IntegrationSettings
from services.integration.store import connections as store

log = logging.getLogger(__name__)


async def open_vault(host: Host, settings: IntegrationSettings) -> Vault:
    """The vault with every key at hand; connections that older keys sealed are sealed under the current one."""
    keys = keyfile.keys_at_hand(host.data_folder, "integration", settings.encryption_key, settings.encryption_old_keys)
    opened = Vault(keys, os.urandom, "integration")
    await host.db.write(lambda tx: _reseal(tx, opened))
    return opened


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
