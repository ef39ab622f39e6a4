"""What looks at a service after a fault sees what is broken: promises that are broken on purpose are all told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.robustness.chance import dice
from tests.robustness.matrix import validators
from tests.robustness.matrix.scenario import scenario_of
from tests.robustness.matrix.scenarios.learning import Work
from tests.robustness.matrix.stand import standing


async def test_broken_promises_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note of an event that is gone, an event that the bus refused, a review that is lost, an answer that nothing excuses."""
    chance = dice("broken promises")
    scenario = scenario_of("learning", tmp_path, chance)
    assert isinstance(scenario, Work)
    async with standing("learning", tmp_path, scenario, chance) as stand:
        async with stand.in_use():
            await stand.answers()
            await stand.goes_on()
        assert await validators.broken(stand) == []
        with closing(sqlite3.connect(stand.file, isolation_level=None, timeout=10)) as other:
            other.execute("DELETE FROM inbox WHERE rowid = (SELECT min(rowid) FROM inbox)")
            other.execute("INSERT INTO outbox_refused (event, refusal) VALUES (x'', 'no')")
        scenario.reviewed[next(iter(scenario.reviewed))] += 1
        stand.caller.unexpected.append("INTERNAL")
        monkeypatch.setattr(validators, "_PATIENCE", 0.3)
        found = await validators.broken(stand)
    seen = {told.split(":")[0] for told in found}
    assert seen == {"answers_were_expected", "the_outbox_is_empty", "all_was_heard", "what_was_acknowledged_stands"}


def test_a_service_without_a_scenario_is_told(tmp_path: Path) -> None:
    """A seventh service is found by the catalogue; what it needs is a scenario."""
    with pytest.raises(AssertionError, match="seventh has no scenario: write tests"):
        scenario_of("seventh", tmp_path, dice("none"))
