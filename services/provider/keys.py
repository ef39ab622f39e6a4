"""Keys of a provider: which of them are used, and in which order a call tries them."""

import hashlib
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from mesh.vault import Sealed

ENVIRONMENT = "environment"
_SHOWN, _LONG_ENOUGH = 4, 16
_UNIT = float(2**64)


class StoredKey(Struct, frozen=True):
    """A key as it is kept. `weight` is its share of the calls; 0: only when the others failed."""

    key_id: str
    provider_id: str
    display_name: str
    hint: str
    weight: int
    sealed: Sealed
    created: datetime | None = None
    ends: datetime | None = None

    def __repr__(self) -> str:
        """Without what is sealed."""
        return f"StoredKey({self.key_id!r}, {self.provider_id!r}, {self.hint!r}, weight={self.weight})"

    @property
    def place(self) -> str:
        """Where its secret belongs, for the vault: a row copied to another provider opens nothing."""
        return place_of(self.provider_id, self.key_id)

    def active(self, now: datetime) -> bool:
        """Whether its end has not come."""
        return self.ends is None or now < self.ends


class Key(Struct, frozen=True):
    """A key ready for a call. Its secret never shows in a repr."""

    key_id: str
    weight: int
    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Key({self.key_id!r}, weight={self.weight})"


def place_of(provider_id: str, key_id: str) -> str:
    """The place of a key's secret."""
    return f"provider keys/{provider_id}/{key_id}"


def print_of(secret: str, under: bytes) -> bytes:
    """By what a secret is known again; without the key that it is hashed under it gives nothing away."""
    return hashlib.blake2b(secret.encode(), key=under, digest_size=16).digest()


def hint_of(secret: str) -> str:
    """The last four characters, by which people tell their keys apart; nothing of a short key."""
    return secret[-_SHOWN:] if len(secret) >= _LONG_ENOUGH else ""


def ordered(keys: Iterable[Key], seed: str) -> tuple[Key, ...]:
    """The keys in the order in which a call tries them: first by weight's chance, those of weight 0 last.

    Weighted rendezvous hashing (Thaler & Ravishankar 1998; Efraimidis & Spirakis 2006 for the weights): the same seed gives the
    same order in every process, and a key that comes or goes moves no other's calls.
    """
    return tuple(sorted(keys, key=lambda key: (-_score(key, seed), key.key_id)))


def _score(key: Key, seed: str) -> float:
    digest = hashlib.blake2b(f"{seed}\0{key.key_id}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest, "big") + 0.5) / _UNIT
    # of weight 0: below all others, and among themselves by chance
    return chance - 2 if key.weight == 0 else chance ** (1 / key.weight)
