"""Settings: where values come from, what is refused, and that each is documented."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from envoy.settings import DoorSettings
from mesh.catalogue import PORTS, RESERVED_PORTS
from mesh.settings import MeshSettings, Section, SettingError, duration, setting, usable
from services.analytics.settings import AnalyticsSettings
from services.learning.settings import LearningSettings


@dataclass(frozen=True)
class Sample(Section):
    """One setting of each type."""

    section: ClassVar[str] = "sample"

    count: int = setting(3, "How many.", low=1, high=9)
    ratio: float = setting(0.5, "How much.", low=0, high=1)
    on: bool = setting(False, "Whether.")
    wait: timedelta = setting(timedelta(seconds=1), "How long.")
    age: timedelta = setting(timedelta(days=2), "How old.", low=86400)
    names: tuple[str, ...] = setting(("a",), "Which.")
    token: str = setting("", "What opens the door.", secret=True)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A value in the environment is taken before the same value in the file; the rest comes from the file."""
    file = tmp_path / "tooloo.toml"
    file.write_text('[sample]\ncount = 4\nwait = "250ms"\nnames = ["x", "y"]\n')
    loaded = Sample.load({"TOOLOO_SAMPLE_COUNT": "5", "TOOLOO_SAMPLE_ON": "yes"}, file)
    assert loaded == Sample(count=5, on=True, wait=timedelta(milliseconds=250), names=("x", "y"))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("COUNT", "many", "is no int"),
        ("COUNT", "0", "between 1 and 9"),
        ("ON", "perhaps", "true or false"),
        ("WAIT", "5 parsecs", "30s"),
        ("WAIT", "99999999999d", "is no duration"),
        ("WAIT", "0s", "at least 0.001s"),
        ("AGE", "23h", "at least 86400s"),
        ("RATIO", "nan", "between 0 and 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, told: str) -> None:
    """The refusal names the variable and says what would be right."""
    with pytest.raises(SettingError, match=f"TOOLOO_SAMPLE_{name}.*{told}") as refused:
        Sample.load({f"TOOLOO_SAMPLE_{name}": value})
    assert value in str(refused.value)


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    """A typing error in the file is found at start, not ignored."""
    file = tmp_path / "tooloo.toml"
    file.write_text("[sample]\ncuont = 4\n")
    with pytest.raises(SettingError, match="no setting 'cuont'"):
        Sample.load({}, file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"sample = 5\n", r"write \[sample\] above"),
        (b"[[sample]]\ncount = 4\n", r"write \[sample\] above"),
        (b"[sample]\ncount = 4.5\n", "a whole number"),
        (b"[sample\n", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    """No traceback for a table that is none, half a number, bytes that are no text, or a folder."""
    file = tmp_path / "tooloo.toml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(SettingError, match=told):
        Sample.load({"TOOLOO_CONFIG": str(file)})


@pytest.mark.parametrize("level", ["loud", ""])
def test_a_log_level_that_there_is_not_is_refused(level: str) -> None:
    """By the name of its setting, before anything is changed."""
    with pytest.raises(SettingError, match=r"TOOLOO_LOG_LEVEL.*DEBUG, INFO"):
        MeshSettings.load({"TOOLOO_LOG_LEVEL": level})


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """TOOLOO_CONFIG that points nowhere is an error, while the default file may be absent."""
    with pytest.raises(SettingError, match="does not exist"):
        Sample.load({"TOOLOO_CONFIG": str(tmp_path / "absent.toml")})


def test_secrets_are_not_shown() -> None:
    """The reference never prints a secret's value."""
    assert {row.name: row.default for row in Sample.documented()}["token"] == "(secret)"


def test_every_service_has_a_port_of_its_own_and_leaves_those_of_later_ones() -> None:
    """Callers know these numbers: none is used twice, and product, segmentation and design find theirs free."""
    settings = MeshSettings()
    used = [settings.door_port, settings.admin_port, *(settings.port_of(name) for name in PORTS)]
    assert len(set(used)) == len(used)
    assert not set(used) & set(RESERVED_PORTS.values())


def test_a_socket_folder_that_the_kernel_cannot_take_is_refused() -> None:
    """A path too long for a unix socket is named at start, with the setting that mends it."""
    settings = MeshSettings(data_folder=Path("/" + "long/" * 30))
    with pytest.raises(SettingError, match="TOOLOO_SOCKET_FOLDER"):
        _ = settings.sockets


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1.5s", 1.5)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """Each unit is understood."""
    assert duration(text).total_seconds() == seconds


def test_a_time_longer_than_any_has_no_overflow() -> None:
    """Whoever reads durations, the command too, expects a ValueError."""
    with pytest.raises(ValueError, match="longer than any"):
        duration("99999999999d")


@dataclass(frozen=True)
class Checked(Section):
    """Two values that must fit each other, and a file."""

    section: ClassVar[str] = "checked"

    least: int = setting(1, "At least.")
    most: int = setting(2, "At most.")
    rules: Path = setting(Path(__file__), "What holds.")

    def check(self) -> None:
        """Least before most, and a file that can be read."""
        with usable("TOOLOO_CHECKED_LEAST"):
            if self.least > self.most:
                raise ValueError("it must not be above TOOLOO_CHECKED_MOST")
        with usable("TOOLOO_CHECKED_RULES"):
            self.rules.read_text()


@pytest.mark.parametrize(
    ("name", "value", "told"), [("LEAST", "3", "must not be above"), ("RULES", "/nowhere/file", "/nowhere/file cannot be read")]
)
def test_what_no_single_value_shows_is_refused_where_it_is_read(name: str, value: str, told: str) -> None:
    """So whoever reads the settings is told, the doctor as well as the service."""
    assert Checked.load({}).least == 1
    with pytest.raises(SettingError, match=f"TOOLOO_CHECKED_{name}: .*{told}"):
        Checked.load({f"TOOLOO_CHECKED_{name}": value})


@pytest.mark.parametrize("hosts", ["", ",", "localhost,localhost"])
def test_a_door_needs_host_names_each_once(hosts: str) -> None:
    """Envoy does not start with another list."""
    with pytest.raises(SettingError, match="TOOLOO_DOOR_HOSTS"):
        DoorSettings.load({"TOOLOO_DOOR_HOSTS": hosts})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        (AnalyticsSettings, "badges_file", "/nowhere/badges.toml"),
        (AnalyticsSettings, "badges_file", "README.md"),
        (AnalyticsSettings, "health_healthy_from", "0.5"),
        (LearningSettings, "time_zone", "Mars/Olympus"),
        (LearningSettings, "curriculum_folder", "/nowhere"),
    ],
)
def test_what_a_service_cannot_use_is_told_by_its_setting(section: type[Section], name: str, value: str) -> None:
    """Not by a stack trace in its log."""
    with pytest.raises(SettingError, match=section.env_name(name)):
        section.load({section.env_name(name): value})
