"""A value that a service would refuse, or could only ignore, is refused where settings are read: the doctor tells it in time."""

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import get_type_hints

import pytest

from gateway.doctor import __main__ as doctor
from gateway.doctor import probing
from gateway.reference import sections
from mesh.settings import MeshSettings, Section, SettingError
from services.orchestration.settings import OrchestrationSettings
from services.provider.settings import ProviderSettings

SECTIONS = {section.section: section for section in sections()}
# section, setting, a wrong value, and what the refusal says of what is allowed
WRONG = [
    ("mesh", "log_level", "loud", "DEBUG, INFO"),
    ("mesh", "max_message_bytes", "3000000000", "between"),
    ("mesh", "max_concurrent_rpcs", "3000000000", "between"),
    ("door", "hosts", "http://mesh.example.com", "without scheme and port"),
    ("door", "hosts", "mesh.example.com:3000", "without scheme and port"),
    ("door", "origins", "http://localhost:5173/", "without a path"),
    ("door", "origins", "*", "without a path"),
    ("door", "max_calls", "5000000000", "between"),
    ("door", "call_timeout", "50ms", "at least 1s"),
    ("door", "retry_pause", "1s", "TOOLOO_DOOR_RETRY_PAUSE_LIMIT"),
    ("bus", "way", "kafka", "sqlite, jetstream"),
    ("bus", "retention_types", "foo", "TYPE=AGE"),
    ("bus", "retention_types", "foo=soon", "a number and a unit"),
    ("bus", "retention_types", "Metric Logged=7d", "names no types"),
    ("bus", "compact_types", "mastery changed", "names no types"),
    ("bus", "backoff", "soon", "a number and a unit"),
    ("bus", "max_followers", "3000000000", "between"),
    ("bus_nats", "stream", "my stream", "letters, digits"),
    ("bus_nats", "prefix", "a.b", "one token"),
    ("bus_nats", "replicas", "2", "1, 3, 5"),
    ("bus_nats", "servers", "nats://one two", "nats://127.0.0.1:4222"),
    ("bus_nats", "monitors", "127.0.0.1:8222", "http://127.0.0.1:8222"),
    ("bus_nats", "credentials", "/nowhere/bus.creds", "cannot be read"),
    ("provider", "registry_file", "/nowhere/providers.toml", "cannot be read"),
    ("provider", "registry_file", "README.md", "line"),
    ("provider", "prices_file", "/nowhere/prices.json", "cannot be read"),
    ("provider", "prices_file", "README.md", "line"),
    ("provider", "price_overrides_file", "/nowhere/prices.toml", "cannot be read"),
    ("provider", "default_input_price", "5", "TOOLOO_PROVIDER_DEFAULT_OUTPUT_PRICE"),
    ("provider", "require_key", "sometimes", "always, never, auto"),
    ("provider", "default_budget", "much", "no decimal number"),
    ("provider", "default_budget", "-1", "above 0"),
    ("provider", "encryption_key", "secret", "base64"),
    ("provider", "encryption_old_keys", "secret", "base64"),
    ("provider", "health_bucket", "10ms", "at least 1s"),
    ("provider", "retry_window", "10ms", "at least 1s"),
    ("provider", "learned_half_life", "1m", "at least 3600s"),
    ("orchestration", "intents_file", "/nowhere/intents.json", "cannot be read"),
    ("orchestration", "intents_file", "README.md", "line"),
    ("orchestration", "model_folder", "README.md", "no folder"),
    ("analytics", "failure_words", "has failed", "last words of event types"),
    ("analytics", "success_words", "job.done", "last words of event types"),
    ("integration", "redirect_uris", "localhost", "whole"),
    ("integration", "github_api_url", "", "https"),
    ("integration", "slack_api_url", "", "https"),
    ("context", "skip_names", "build/", "without /"),
]


@pytest.mark.parametrize(("section", "name", "value", "told"), WRONG)
def test_a_wrong_value_is_told_with_its_setting_and_what_is_allowed(section: str, name: str, value: str, told: str) -> None:
    """By the section itself, so that a service that starts says the same as the doctor."""
    kind = SECTIONS[section]
    with pytest.raises(SettingError) as refused:
        kind.load({kind.env_name(name): value})
    assert kind.env_name(name) in str(refused.value)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_no_number_is_larger_than_what_counts_with_it(section: type[Section]) -> None:
    """A database holds 64 bits and a calendar ends: a service that met such a value later would end with a stack trace."""
    hints = get_type_hints(section)
    for field in dataclasses.fields(section):
        if hints[field.name] in (int, timedelta):
            value = f"{10**20}" if hints[field.name] is int else "999999999d"
            with pytest.raises(SettingError, match=f"{section.env_name(field.name)} .*(at most|between|at least|one of)"):
                section.load({section.env_name(field.name): value})


def test_files_of_another_form_are_told_by_their_settings(tmp_path: Path) -> None:
    """JSON and TOML that can be read, and are no prices and no intents."""
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"currency": "EUR", "intents": [{"name": "greet"}]}))
    with pytest.raises(SettingError, match=r"TOOLOO_PROVIDER_PRICES_FILE is .*json: .*must be in USD"):
        ProviderSettings.load({"TOOLOO_PROVIDER_PRICES_FILE": str(file)})
    with pytest.raises(SettingError, match=r"TOOLOO_ORCHESTRATION_INTENTS_FILE is .*json: .*outOfScope"):
        OrchestrationSettings.load({"TOOLOO_ORCHESTRATION_INTENTS_FILE": str(file)})


@pytest.mark.parametrize("name", ["TOOLOO_BUS_WAY", "TOOLOO_PROVIDER_PRICES_FILE", "TOOLOO_EXTRA_CONTRACTS"])
def test_the_doctor_tells_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of contracts, too, which no section reads."""
    monkeypatch.setenv(name, "/nowhere")
    (found,) = probing.setting_problems()
    assert name in found
    assert "/nowhere" in found


def test_the_doctor_tells_all_of_them_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first of each section, so that nobody has to ask again and again."""
    wrong = {
        "TOOLOO_BUS_WAY": "kafka",
        "TOOLOO_BUS_RETENTION_TYPES": "foo",
        "TOOLOO_BUS_BACKOFF": "soon",
        "TOOLOO_LOG_LEVEL": "loud",
        "TOOLOO_CONFIG": "/nowhere/tooloo.toml",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    found = probing.setting_problems()
    assert len(found) == len(wrong)
    assert all(any(name in problem for problem in found) for name in wrong)


def test_folders_that_are_files_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder and that of the sockets: neither can be made where a file stands."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TOOLOO_DATA_FOLDER", str(tmp_path / "file"))
    monkeypatch.setenv("TOOLOO_SOCKET_FOLDER", str(tmp_path / "file" / "run"))
    found = {each.check: each.level for each in doctor._place(MeshSettings.load())}
    assert (found["data folder"], found["sockets"]) == ("fault", "fault")
    assert probing.makeable(tmp_path / "not" / "yet")
