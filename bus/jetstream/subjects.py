"""NATS subjects of events: `<prefix>.<type>.<subject>`, the event's subject as one token."""

from urllib.parse import unquote

# what a token of a NATS subject cannot hold, and the sign that the encoding itself needs
_SPECIAL = frozenset(".*>%")


def token_of(subject: str) -> str:
    """An event's subject as one token: special characters and white space percent-encoded, all else as it is."""
    if subject.isidentifier():
        return subject
    return "".join(_escaped(char) if char in _SPECIAL or char.isspace() else char for char in subject)


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


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())
