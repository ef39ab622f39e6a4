"""The keys of providers on their store: sealed when they are added, opened when a call needs them, shown never."""

import logging
import os
from datetime import datetime

from mesh import keyfile
from mesh.db import Transaction
from mesh.host import Host
from mesh.vault import Vault, VaultError
from services.provider import registry_store as store
from services.provider.availability import Resource
from services.provider.flows import availability
from services.provider.flows.known import Known
from services.provider.keys import ENVIRONMENT, Key, StoredKey, hint_of, ordered, place_of, print_of

log = logging.getLogger(__name__)
_OWNER = "provider"


class Keyring:
    """Opens keys. What was opened is not kept: the database may have forgotten it meanwhile."""

    def __init__(self, host: Host, known: Known, vault: Vault) -> None:
        self._host = host
        self._known = known
        self._vault = vault

    @classmethod
    async def open(cls, host: Host, known: Known) -> "Keyring":
        """The keyring with every key of the vault at hand; what older ones sealed is sealed under the current one."""
        settings = known.settings
        at_hand = keyfile.keys_at_hand(host.data_folder, _OWNER, settings.encryption_key, settings.encryption_old_keys)
        keyring = cls(host, known, Vault(at_hand, os.urandom, _OWNER))
        await host.db.write(keyring._reseal)
        await host.db.write(lambda tx: keyring._look_at_environment(tx, at_hand[0]))
        return keyring

    async def keys_of(self, tx: Transaction, provider_id: str, seed: str) -> tuple[Key, ...]:
        """The keys that a call may use now, in the order in which it tries them; the same seed gives the same order everywhere.

        Those of the database by their weights; the environment's is one more of weight 1. Empty: the provider has none.
        """
        now = self._host.clock.now()
        stored = [key for key in await store.keys(tx, provider_id) if key.active(now)]
        found = [Key(key.key_id, key.weight, secret) for key in stored if (secret := self._secret(key))]
        if given := self._known.environment_keys.get(provider_id):
            found.append(Key(ENVIRONMENT, 1, given))
        return ordered(found, seed)

    def readable(self, key: StoredKey) -> bool:
        """Whether its secret can be opened."""
        return bool(self._secret(key))

    def sealed(self, key_id: str, provider_id: str, secret: str, name: str, weight: int, ends: datetime | None) -> StoredKey:
        """A new key as it is stored."""
        box = self._vault.seal(secret.encode(), place_of(provider_id, key_id))
        return StoredKey(key_id, provider_id, name, hint_of(secret), weight, box, self._host.clock.now(), ends)

    def _secret(self, key: StoredKey) -> str:
        try:
            return self._vault.open(key.sealed, key.place).decode()
        except VaultError as error:
            log.warning("key %s of %s cannot be used: %s", key.key_id, key.provider_id, error)
            return ""

    async def _look_at_environment(self, tx: Transaction, under: bytes) -> None:
        """Lets a key of the environment that is another than at the last start begin anew: what rested was the one before."""
        await self._known.look(tx)
        for provider_id in self._known.environment_keys.keys() & self._known.registry.providers.keys():
            before = await store.environment_print(tx, provider_id)
            found = print_of(self._known.environment_keys[provider_id], under)
            if found != before:
                await store.put_environment_print(tx, provider_id, found)
            if before is not None and found != before:
                await availability.reset(self._host, tx, self._known, Resource(provider_id, "", ENVIRONMENT))

    async def _reseal(self, tx: Transaction) -> None:
        for key in await store.keys(tx):
            if key.sealed.key_id != self._vault.current and (secret := self._secret(key)):
                await store.reseal_key(tx, key.key_id, self._vault.seal(secret.encode(), key.place))
