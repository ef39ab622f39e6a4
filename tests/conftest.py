"""What all tests share: one mesh a session, properties without a clock, and hanging tests that tell where."""

import asyncio
import io
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.support.mesh import Mesh, running_mesh

# how long an example may take is no promise: on a busy machine any may take longer than the 200 ms of the default
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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


def _where_tasks_wait() -> str:
    text = io.StringIO()
    try:
        loop = asyncio.get_event_loop_policy().get_event_loop()
    except (RuntimeError, DeprecationWarning):
        return "there is no loop"
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=text)
    return text.getvalue()
