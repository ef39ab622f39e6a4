"""Encryption at rest: AES-256-GCM (NIST SP 800-38D) under keys that have ids, each secret bound to the place it belongs to."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
# 96 random bits: SP 800-38D §8.2.2 allows 2^32 seals under one key, and we seal a few times a user and day
NONCE_BYTES = 12


class VaultError(Exception):
    """A secret that cannot be opened: its key is not at hand, or it was changed or moved."""


class KeyFormatError(ValueError):
    """Text that is no key."""


@dataclass(frozen=True)
class Sealed:
    """A secret as it is stored: the id of its key, and nonce + ciphertext + tag."""

    key_id: str
    box: bytes


def read_key(text: str) -> bytes:
    """A key from base64 (plain or url-safe) of 32 bytes; KeyFormatError otherwise."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except ValueError as error:
        raise KeyFormatError(f"no base64: {error}") from error
    if len(key) != KEY_BYTES:
        raise KeyFormatError(f"{len(key)} bytes; a key is {KEY_BYTES}, e.g. made by: openssl rand -base64 {KEY_BYTES}")
    return key


def write_key(key: bytes) -> str:
    """A key as text that read_key takes."""
    return base64.b64encode(key).decode()


def key_id(key: bytes, owner: str) -> str:
    """16 hexadecimal digits that name a service's key without telling it."""
    return hashlib.sha256(f"tooloo {owner} key id\0".encode() + key).hexdigest()[:16]


class Vault:
    """Seals and opens the secrets of one service, its owner. The first key seals; the others still open what they sealed."""

    def __init__(self, keys: Sequence[bytes], random: Callable[[int], bytes], owner: str) -> None:
        self._keys = {key_id(key, owner): key for key in keys}
        self._random = random
        self._owner = owner
        self.current = key_id(keys[0], owner)

    @cached_property
    def _ciphers(self) -> "dict[str, AESGCM]":
        # ten megabytes, which an installation without secrets need not load
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

        return {name: AESGCM(key) for name, key in self._keys.items()}

    def seal(self, secret: bytes, place: str) -> Sealed:
        """Encrypts; the secret can be opened only by naming the same place, e.g. "tokens/ada/github"."""
        nonce = self._random(NONCE_BYTES)
        return Sealed(self.current, nonce + self._ciphers[self.current].encrypt(nonce, secret, place.encode()))

    def open(self, sealed: Sealed, place: str) -> bytes:
        """Decrypts; VaultError when the key is unknown, a bit was changed, or the secret belongs to another place."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _ciphers

        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            setting = f"TOOLOO_{self._owner.upper()}_ENCRYPTION_OLD_KEYS"
            raise VaultError(f"the key {sealed.key_id} is not at hand; add it to {setting}")
        try:
            return cipher.decrypt(sealed.box[:NONCE_BYTES], sealed.box[NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise VaultError("the secret was changed or belongs to another place") from error
