"""Logs of a process: what is written, and what callers must not be able to have written."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import logs


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A log file; the logging of the tests is as it was afterwards."""
    root, grpc = logging.getLogger(), logging.getLogger("grpc._cython.cygrpc")
    handlers, level, filters = root.handlers[:], root.level, grpc.filters[:]
    logs.setup("bus", "INFO", tmp_path / "bus.jsonl")
    yield tmp_path / "bus.jsonl"
    for handler in root.handlers:
        handler.close()
    root.handlers[:], grpc.filters[:] = handlers, filters
    root.setLevel(level)


def test_what_callers_alone_cause_is_no_error_of_ours(file: Path) -> None:
    """A message for somebody who has hung up, or a header that is no text, is not logged; what is ours is."""
    log = logging.getLogger("grpc._cython.cygrpc")
    log.error("ExecuteBatchError raised in core by servicer method [%s]", "/tooloo.bus.v1.EventBus/FollowSse")
    log.error("Invalid encoding on %s", "x-name")
    log.error("Unexpected [%s] raised by servicer method [%s]", "KeyError", "/tooloo.bus.v1.EventBus/FollowSse")
    [line] = file.read_text().splitlines()
    assert json.loads(line)["message"] == "Unexpected [KeyError] raised by servicer method [/tooloo.bus.v1.EventBus/FollowSse]"
