"""The vault: what is sealed opens in its own place under its own key, and nothing else does."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import vault
from mesh.vault import KeyFormatError, Sealed, Vault, VaultError

KEY, OTHER = b"k" * 32, b"o" * 32
PLACES = st.text(max_size=60)


@given(secret=st.binary(max_size=500), place=PLACES)
def test_what_is_sealed_opens(secret: bytes, place: str) -> None:
    """Any secret comes back in its place; its text does not stand in the box."""
    box = Vault([KEY], os.urandom, "integration")
    sealed = box.seal(secret, place)
    assert box.open(sealed, place) == secret
    assert len(secret) < 4 or secret not in sealed.box


@given(secret=st.binary(max_size=50), position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found(secret: bytes, position: int, bit: int) -> None:
    """Nonce, ciphertext and tag are all guarded."""
    box = Vault([KEY], os.urandom, "integration")
    sealed = box.seal(secret, "here")
    changed = bytearray(sealed.box)
    changed[position % len(changed)] ^= 1 << bit
    with pytest.raises(VaultError):
        box.open(Sealed(sealed.key_id, bytes(changed)), "here")


@given(here=PLACES, there=PLACES)
def test_a_secret_does_not_open_elsewhere(here: str, there: str) -> None:
    """A row copied to another user opens nothing."""
    box = Vault([KEY], os.urandom, "integration")
    if here != there:
        with pytest.raises(VaultError):
            box.open(box.seal(b"secret", here), there)


@given(length=st.integers(0, 40))
def test_a_box_that_was_cut_is_refused(length: int) -> None:
    """Too short for nonce and tag is no crash."""
    box = Vault([KEY], os.urandom, "integration")
    sealed = box.seal(b"0123456789abcdef", "here")
    with pytest.raises(VaultError):
        box.open(Sealed(sealed.key_id, sealed.box[:length]), "here")


def test_the_first_key_seals_and_all_open() -> None:
    """After a change of keys the old one still opens; without it the refusal names its id and the setting."""
    old = Vault([OTHER], os.urandom, "integration").seal(b"secret", "here")
    both = Vault([KEY, OTHER], os.urandom, "integration")
    assert both.open(old, "here") == b"secret"
    assert both.seal(b"secret", "here").key_id == vault.key_id(KEY, "integration") == both.current
    with pytest.raises(VaultError, match=f"{old.key_id}.*ENCRYPTION_OLD_KEYS"):
        Vault([KEY], os.urandom, "integration").open(old, "here")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    """A nonce is never used twice under a key, so equal tokens do not show."""
    box = Vault([KEY], os.urandom, "integration")
    assert len({box.seal(b"secret", "here").box for _ in range(100)}) == 100


@given(key=st.binary(min_size=32, max_size=32))
def test_a_key_is_written_and_read(key: bytes) -> None:
    """Base64, plain or url-safe, with white space around."""
    text = vault.write_key(key)
    assert vault.read_key(f" {text}\n") == vault.read_key(text.replace("+", "-").replace("/", "_")) == key


@pytest.mark.parametrize("text", ["", "secret", "A" * 43, vault.write_key(b"x" * 31), vault.write_key(b"x" * 33), "ü" * 44])
def test_what_is_no_key_is_refused(text: str) -> None:
    """Wrong length or no base64, without showing the text itself."""
    with pytest.raises(KeyFormatError) as caught:
        vault.read_key(text)
    assert not text or text not in str(caught.value)


def test_what_was_sealed_before_the_vault_served_others_still_opens() -> None:
    """The name of integration's key is what it was when the vault was integration's alone: its data holds it."""
    assert vault.key_id(KEY, "integration") == hashlib.sha256(b"tooloo integration key id\0" + KEY).hexdigest()[:16]
    assert vault.key_id(KEY, "provider") != vault.key_id(KEY, "integration")
