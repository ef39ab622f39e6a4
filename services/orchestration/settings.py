"""Settings of the orchestration service: limits of DAGs, how runs are driven, how tasks catch up, where the intents come from."""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mesh.settings import Section, setting, usable
from services.orchestration import examples
from services.orchestration.examples import Examples

_INTENTS = Path(__file__).parent / "data" / "intents.json"
_MODELS = Path(__file__).resolve().parents[2] / "build" / "models"


@dataclass(frozen=True)
class OrchestrationSettings(Section):
    """Section [orchestration]."""

    section: ClassVar[str] = "orchestration"

    intents_file: Path = setting(_INTENTS, "JSON file with the intents, their examples and examples that are out of scope.")
    model_folder: Path = setting(
        _MODELS, "Folder that keeps the trained classifier, named after its examples; it is made anew when it is not there."
    )
    classifier_wait: timedelta = setting(
        timedelta(seconds=20), "How long AnalyzeIntent waits for the classifier while it is trained after the first start.", low=0
    )
    training_timeout: timedelta = setting(timedelta(minutes=5), "Longest time for training the classifier; then it is tried again.")
    max_nodes: int = setting(200, "Nodes that a DAG may have.", low=1, high=256)
    max_dag_bytes: int = setting(256 * 1024, "Largest DAG in bytes.", low=1024)
    max_input_bytes: int = setting(64 * 1024, "Largest ${input} of a run in bytes.", low=1024)
    max_request_chars: int = setting(1024 * 1024, "Most text that references may put into one node's request.", low=1024)
    max_output_bytes: int = setting(
        256 * 1024, "Largest answer of a node that is kept, as JSON; a larger one fails the node.", low=1024
    )
    node_timeout: timedelta = setting(timedelta(seconds=30), "Longest time for one attempt of a node that sets none.")
    node_attempts: int = setting(3, "Attempts of a node that sets no retry rule.", low=1, high=10)
    node_backoff: timedelta = setting(
        timedelta(milliseconds=200), "Wait before a node's second attempt; it doubles each time.", low=0
    )
    longest_backoff: timedelta = setting(timedelta(minutes=1), "Longest wait between two attempts of a node.", low=0)
    running_nodes: int = setting(32, "Calls of nodes on the way at a time, over all runs of a process.", low=1)
    active_runs: int = setting(64, "Runs that a process drives at a time; more wait their turn.", low=1)
    unfinished_runs: int = setting(10_000, "Runs that may be unfinished; more are refused with RESOURCE_EXHAUSTED.", low=1)
    run_lease: timedelta = setting(timedelta(seconds=5), "After this silence of a process its runs are taken over by another.")
    poll_interval: timedelta = setting(
        timedelta(seconds=1), "How often a process looks for runs and tasks that another one left or made."
    )
    keep_runs: timedelta = setting(
        timedelta(days=30), "How long ended runs are kept. A task that fires no more goes with its last run.", low=0
    )
    max_workflows: int = setting(10_000, "Versions of workflows that may be kept.", low=1)
    max_tasks: int = setting(10_000, "Tasks that may still fire.", low=1)
    catch_up_fires: int = setting(1, "Fires of a task that are made up after they were missed, the newest first.", low=1, high=100)
    max_missed_counted: int = setting(10_000, "Missed fires of a task that are counted at a time.", low=1, high=100_000)
    watch_heartbeat: timedelta = setting(timedelta(seconds=10), "Longest silence of WatchRun when the caller names none.")

    def check(self) -> None:
        """SettingError for intents that cannot be read, and a place for the classifier that is no folder."""
        _ = self.examples
        with usable(self.env_name("model_folder"), self.model_folder):
            if self.model_folder.exists() and not self.model_folder.is_dir():
                raise ValueError(f"{self.model_folder} is no folder; name another one")

    @cached_property
    def examples(self) -> Examples:
        """The intents of the file; read once."""
        with usable(self.env_name("intents_file"), self.intents_file):
            return examples.read(json.loads(self.intents_file.read_text()))
