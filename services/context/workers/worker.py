"""A process that parses files for the service: one JSON line with a batch in, one with what was read out.

A process of its own, so that a crash or an endless loop in a grammar's C code, or a huge file, costs one file and not the service,
and so that parsing does not hold the service's event loop. It ends when its input does.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from services.context.reading import Limits, load, of_content
from services.context.walking import Reason
from services.context.workers import packing

# other processes of the mesh answer calls meanwhile
_NICENESS = 5


def main(memory: int) -> None:
    """Answers batches until the input ends; `memory` is the most it may use, in bytes."""
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for line in sys.stdin.buffer:
        batch = json.loads(line)
        limits = Limits(**batch["limits"])
        answers = [answer(Path(batch["root"]), path, known, limits, parse=batch["parse"]) for path, known in batch["files"]]
        sys.stdout.buffer.write(json.dumps(answers).encode() + b"\n")
        sys.stdout.buffer.flush()


def answer(root: Path, path: str, known_hash: str, limits: Limits, *, parse: bool) -> dict[str, Any]:
    """What was read of one file; one that its parser cannot take comes without symbols."""
    content = load(root / path, limits)
    if not isinstance(content, Reason) and _leads_elsewhere(root, path):
        content = Reason.SYMLINK
    if isinstance(content, Reason):
        return packing.pack(path, content)
    try:
        return packing.pack(path, of_content(path, content, known_hash, limits, parse=parse))
    except (MemoryError, RecursionError, ValueError):
        return packing.pack(path, of_content(path, content, known_hash, limits, parse=False))


def _leads_elsewhere(root: Path, path: str) -> bool:
    """True when a link has taken the place of a folder since the tree was walked; it could lead out of what may be indexed."""
    folder = os.path.dirname(path)
    return Path(os.path.realpath(root / folder)) != Path(os.path.realpath(root)) / folder


if __name__ == "__main__":
    main(int(sys.argv[1]))
