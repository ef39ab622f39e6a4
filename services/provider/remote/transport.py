"""How an exchange over HTTP fails, whatever library carries it."""


class TransportError(Exception):
    """No answer, or not all of it; the message names no address beyond the host and no secret."""


class ConnectError(TransportError):
    """There is no connection: nothing was sent."""


class WaitError(TransportError):
    """A time limit passed."""


class CutError(TransportError):
    """The connection ended before the answer did."""


class ProtocolError(TransportError):
    """What came is no HTTP, or more than is taken."""
