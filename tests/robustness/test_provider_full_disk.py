"""Budgets on a full disk: calls are refused by name, none passes a budget, and with room the ledger is what was settled."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.provider import full_disk
from tests.robustness.faults.full import WAYS, Room

Way = Callable[[Path, Path], AbstractContextManager[Room]]


@pytest.mark.parametrize("way", WAYS)
async def test_budgets_hold_while_the_disk_is_full(way: Way, tmp_path: Path) -> None:
    """Bursts over two replicas go on before, during and after; what was answered meanwhile is settled when there is room."""
    folder = tmp_path / "var"
    found = await full_disk.measure(way(tmp_path / "scratch", folder), folder, customers=4)
    assert found.refused.keys() <= {"DISK_FULL", "BUDGET_SPENT"}
    assert found.refused["DISK_FULL"] > 0
    assert found.after > 0
    assert found.audit.beyond == 0
    assert found.audit.ledger == found.audit.spent > 0
    assert found.audit.still_reserved == 0
