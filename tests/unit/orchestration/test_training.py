"""The program that trains the classifier: who starts at the same time takes turns, and only the first one trains."""

import fcntl
import io
import json
import os
from pathlib import Path
from threading import Thread

import pytest

from services.orchestration import intent
from services.orchestration.workers import training

PAIRS = [(f"{word} {n}", word) for word in ("alpha", "beta", "") for n in ("one", "two", "three", "four", "five", "six")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs, on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(PAIRS)))


@pytest.mark.usefixtures("asked")
def test_whoever_waited_for_a_turn_finds_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made meanwhile, and is left as it is."""
    model = intent.dump(training.train(PAIRS)[0])
    trainings: list[object] = []
    monkeypatch.setattr(training, "train", trainings.append)
    turn = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    waiting = Thread(target=training.main, args=[str(tmp_path / "model.json")])
    waiting.start()
    (tmp_path / "model.json").write_text(model)
    os.close(turn)
    waiting.join()
    assert trainings == []
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]
    assert (tmp_path / "model.json").read_text() == model


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("found", [None, "", "{}", '{"labels": []'])
def test_what_is_no_model_is_made_anew(tmp_path: Path, found: str | None) -> None:
    """No file, an empty one, one of something else, and one that was cut off."""
    file = tmp_path / "model.json"
    if found is not None:
        file.write_text(found)
    training.main(str(file))
    assert intent.load(file.read_text()).labels
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]
