"""The C library, loaded twice: calls of one copy let other threads run, calls of the other do not.

A call that may take long lets go of Python's lock; a short one does not, for whoever lets go of it may wait a hundred times as long
as the call took until he has it again.
"""

import ctypes
from pathlib import Path
from sys import byteorder

_NAME = "libtooloo_bus.so"
_HERE = Path(__file__).resolve()
# beneath this file where the bus is installed as a package, else where `make build` puts it
_INSTALLED, _BUILT = _HERE.parent / "lib" / _NAME, _HERE.parents[2] / "build" / "native" / _NAME
LIBRARY = _INSTALLED if _INSTALLED.exists() else _BUILT
# so many bytes are looked through in some microseconds
_SHORT_BYTES = 64 * 1024

if byteorder != "little":
    raise ImportError("the bus's records are little-endian, and so must the machine be")


def _load(kind: type[ctypes.CDLL]) -> ctypes.CDLL:
    try:
        return kind(str(LIBRARY))
    except OSError as error:
        raise ImportError(f"the bus's C library is not there ({error}); make it with: make build") from error


releasing, holding = _load(ctypes.CDLL), _load(ctypes.PyDLL)


def declare(name: str, result: object, *arguments: object) -> None:
    """Says what a function of the library takes and gives."""
    for library in (releasing, holding):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def library_for(data: bytes) -> ctypes.CDLL:
    """The library for a call that looks through so much."""
    return holding if len(data) <= _SHORT_BYTES else releasing
