"""An address that is listened on, as a host: how it is written before a port, and where callers on this machine reach it."""

# what listens on any address is reached on the loopback of the same family
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def host_of(address: str) -> str:
    """As it stands before a port: an IPv6 address in brackets."""
    return f"[{address}]" if ":" in address else address


def here(address: str) -> str:
    """The host under which this machine reaches whatever listens on the address."""
    return host_of(_ANY.get(address, address))
