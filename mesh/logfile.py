"""Log files that are renamed when they have become large: who writes one goes on in a new file of its name, and loses no line.

The process manager renames; each process looks for itself before it writes a line. So nothing depends on the manager, which may be
killed, and nobody copies: a file that was renamed takes lines until its writer has seen it.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

# names the file that standard output and error of a process are; the process manager tells it
VARIABLE = "TOOLOO_LOG_FILE"


def shift(path: Path, kept: int) -> None:
    """Renames access.jsonl to access.1.jsonl, that to access.2.jsonl and so on; the oldest goes."""
    names = [path, *(path.with_suffix(f".{number}{path.suffix}") for number in range(1, kept + 1))]
    for older, younger in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
        if younger.exists():
            younger.replace(older)


def shift_large(path: Path, size: int, kept: int) -> bool:
    """Renames a file that is larger than `size`; whether it was."""
    large = path.exists() and path.stat().st_size > size
    if large:
        shift(path, kept)
    return large


class FileHandler(logging.StreamHandler[TextIO]):
    """Writes to the file of this name, whatever becomes of the one that was opened first."""

    def __init__(self, path: Path, stream: TextIO, descriptors: Sequence[int]) -> None:
        super().__init__(stream)
        self._path = path
        # all of them are the file, so that what is written past logging, e.g. by gRPC's core, goes on in the new one, too
        self._descriptors = descriptors

    @classmethod
    def opened(cls, path: Path) -> "FileHandler":
        """On a file that is opened now."""
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8")
        return cls(path, stream, (stream.fileno(),))

    @classmethod
    def standard(cls, path: Path) -> "FileHandler":
        """On the file that standard output and error of this process are."""
        return cls(path, sys.stderr, (sys.stdout.fileno(), sys.stderr.fileno()))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record, to a new file when the one it wrote to has another name by now."""
        if self._renamed():
            self._begin_anew()
        super().emit(record)

    def close(self) -> None:
        """Ends the file, unless it is that of standard error."""
        super().close()
        if self.stream is not sys.stderr:
            self.stream.close()

    def _renamed(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptors[0]))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _begin_anew(self) -> None:
        try:
            fresh = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            # a full disk, for example: the old one takes the line, and the next line tries again
            return
        for descriptor in self._descriptors:
            os.dup2(fresh, descriptor, inheritable=os.get_inheritable(descriptor))
        os.close(fresh)
