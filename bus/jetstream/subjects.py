"""NATS subjects of events: `<prefix>.<type>.<subject>`, the event's subject as one token."""

from urllib.parse import unquote

# what a token of a NATS subject cannot hold (control characters, which the contract excludes, aside), and the encoding's own sign.
# No more than these: a subject of 512 characters must fit into a line of NATS's protocol, 4,096 bytes
_SPECIAL = {char: f"%{ord(char):02X}" for char in " .*>%"}
_TABLE = str.maketrans(_SPECIAL)


def token_of(subject: str) -> str:
    """An event's subject as one token: blanks and NATS's special characters percent-encoded, all else as it is."""
    return subject.translate(_TABLE)


def subject_of(token: str) -> str:
    """The inverse of token_of()."""
    return unquote(token)


def nats_subject(prefix: str, event_type: str, subject: str) -> str:
    """Where an event stands."""
    return f"{prefix}.{event_type}.{token_of(subject)}"


def type_and_subject(prefix: str, nats: str) -> tuple[str, str]:
    """The inverse of nats_subject(); ("", "") for a message that no bus wrote."""
    event_type, _, token = nats.removeprefix(f"{prefix}.").rpartition(".")
    return (event_type, subject_of(token)) if event_type and token else ("", "")


def every_type(prefix: str, subject: str, depths: frozenset[int]) -> list[str]:
    """Filters that match an event's subject under every type; `depths` are the numbers of tokens that types have."""
    return [f"{prefix}.{'*.' * depth}{token_of(subject)}" for depth in sorted(depths)]
