"""What all tests share: properties without a clock, slow files first, and hanging tests that tell where."""

import asyncio
import functools
import gc
import os
import signal
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from mesh.transaction import Transaction
from tests.support import leaping, remembering

if TYPE_CHECKING:
    from tests.support.sharing import SharingFiles

# how long an example may take, or be in the making, is no promise: on a busy machine any may take longer than the defaults allow
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# each HTTP client reads the list of certificates anew, 20 to 30 ms of processor; nothing here changes a context that was made
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment] # whoever calls it sees no difference

TESTS = Path(__file__).parent
_BEFORE_MIDNIGHT = 40
# folders whose files, or groups of files, take longest; the many short ones then fill up whichever worker is free.
# Robustness begins: the first mesh of a fresh clone trains its classifier, and these tests do without it
SLOWEST_FIRST = ("robustness", "browser", "fuzz", "journeys", "conformance", "integration")


@pytest.fixture(autouse=True)
def what_is_remembered_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a service in this process remembers of its database is compared with the database whenever it is used."""
    monkeypatch.setattr(Transaction, "remembered", remembering.compared)


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass at once for whatever in this process waits for them."""
    return leaping.leaps(monkeypatch)


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C works also where a script runs the tests in its background: all that they start would ignore it as they do."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = _from_elsewhere(sorted({str(path.parent) for path in TESTS.rglob("test_*.py")}))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """No test begins shortly before midnight in UTC: budgets of a day or a month, streaks and reports would begin anew in it."""
    left = 86_400 - time.time() % 86_400
    if left < _BEFORE_MIDNIGHT:
        time.sleep(left)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files come first, so that no worker is left alone with one at the end; all workers have the same order."""
    items.sort(key=_place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "SharingFiles | None":
    """Files that share a mesh, a browser or far ends go to one worker, which starts those once."""
    if config.getvalue("dist") != "loadfile":
        return None
    # imported here: without xdist there is nothing to import
    from tests.support.sharing import SharingFiles  # noqa: PLC0415 - see above

    return SharingFiles(config, log)


def _place(item: pytest.Item) -> tuple[int, str]:
    path = item.path.relative_to(TESTS)
    folder = path.parts[0]
    return SLOWEST_FIRST.index(folder) if folder in SLOWEST_FIRST else len(SLOWEST_FIRST), str(path)


def _from_elsewhere(folders: list[str]) -> list[str]:
    """Folders from another one on for each worker: in a fresh clone each then compiles what the others find compiled."""
    worker, workers = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = worker * len(folders) // workers
    return folders[first:] + folders[:first]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that ran out of time says where each of its tasks waits; the stack of the thread is that of the loop alone."""
    report = yield
    if call.excinfo is not None and "pytest-timeout" in str(call.excinfo.value):
        report.sections.append(("tasks", _where_tasks_wait()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what was left out for want of a program, with the one command that brings it; also when tests run beside each other."""
    left_out: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
        left_out.setdefault(reason, []).append(report.nodeid.split("::", 1)[-1])
    for reason, names in left_out.items():
        terminalreporter.write_line(f"left out, {reason}: {', '.join(names)}")


def _where_tasks_wait() -> str:
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except (RuntimeError, DeprecationWarning):
        return "there is no loop"
    return "\n".join(line for task in asyncio.all_tasks(loop) for line in (repr(task), *_awaits(task.get_coro())))


def _awaits(coroutine: object) -> Iterator[str]:
    """What a coroutine waits for, and what that waits for, down to a future."""
    while coroutine is not None:
        if not hasattr(coroutine, "cr_frame"):
            # a step of a generator hides it
            coroutine = next((each for each in gc.get_referents(coroutine) if isinstance(each, AsyncGeneratorType)), coroutine)
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(coroutine, f"{kind}_frame")), "")
        frame = getattr(coroutine, f"{kind}_frame", None)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else repr(coroutine)
        yield f"    {where} {getattr(coroutine, '__qualname__', '')}"
        coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
