"""What journeys and browser tests share: one mesh a session, for starting it is the expensive part."""

import asyncio
import io
from collections.abc import Generator, Iterator

import pytest

from tests.support.mesh import Mesh, running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A whole mesh, started as `make dev` starts it; users who share it must not disturb each other anyway."""
    with running_mesh(tmp_path_factory.mktemp("mesh") / "var") as running:
        yield running


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
    text = io.StringIO()
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except (RuntimeError, DeprecationWarning):
        return "there is no loop"
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=text)
    return text.getvalue()
