"""Settings: frozen dataclasses filled from the environment and one file; every one has a name, a default and a documented meaning.

The environment wins over the file. A setting `outbox_batch` of section `mesh` is TOOLOO_OUTBOX_BATCH, one of section `provider` is
TOOLOO_PROVIDER_<NAME>. In the file (TOOLOO_CONFIG, else ./tooloo.toml when it is there) sections are TOML tables of the same names.
"""

import dataclasses
import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

from mesh.catalogue import DOOR_PORT, SERVICES

CHECKOUT = Path(__file__).resolve().parent.parent
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_SHORTEST = timedelta(milliseconds=1)
# a hundred years: with more than that nobody can count back from now; and what a database's integer holds
_LONGEST, _LARGEST = timedelta(days=36500), 2**63 - 1
# what gRPC takes for its own limits
INT32 = 2**31 - 1
# sockaddr_un holds 108 bytes; the file name needs some of them
_LONGEST_SOCKET_FOLDER = 80
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


class SettingError(ValueError):
    """A setting's value that cannot be used; the message names the setting and says what would be right."""


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    secret: bool = False,
    choices: Sequence[object] = (),
) -> Any:
    """A field of a Section: its default, a sentence for the reference, bounds or choices, and whether it must never be shown.

    Bounds of a duration are seconds. One that gives no `low` is at least a millisecond: a loop that waits for none never rests.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high, "secret": secret, "choices": choices})


@dataclasses.dataclass(frozen=True)
class Documented:
    """What the reference says of one setting."""

    section: str
    name: str
    env: str
    type: str
    default: str
    doc: str


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of a group of settings; `section` names its table in the file and its part of the environment names."""

    section: ClassVar[str] = ""

    @classmethod
    def env_name(cls, field: str) -> str:
        """The environment variable of a field."""
        prefix = "TOOLOO_" if cls.section == "mesh" else f"TOOLOO_{cls.section.upper()}_"
        return prefix + field.upper()

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None, file: Path | None = None) -> Self:
        """Reads the section; SettingError for a value that does not fit or a name in the file that no setting has."""
        environment = os.environ if env is None else env
        table = _table(_file_tables(environment, file), cls.section)
        hints = get_type_hints(cls)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(table) - known):
            raise SettingError(
                f"[{cls.section}] in the settings file has no setting {unknown[0]!r}; known: {', '.join(sorted(known))}"
            )
        values = {}
        for field in dataclasses.fields(cls):
            name = cls.env_name(field.name)
            if name in environment:
                values[field.name] = _parse(name, hints[field.name], environment[name], field.metadata)
            elif field.name in table:
                values[field.name] = _parse(f"[{cls.section}] {field.name}", hints[field.name], table[field.name], field.metadata)
        loaded = cls(**values)
        loaded.check()
        return loaded

    def check(self) -> None:
        """SettingError for what no single value shows: files that cannot be read, values that contradict each other."""

    @classmethod
    def documented(cls) -> Iterator[Documented]:
        """One row of the reference for each setting."""
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            yield Documented(
                cls.section,
                field.name,
                cls.env_name(field.name),
                _type_name(hints[field.name]),
                "(secret)" if field.metadata["secret"] else show(field.default),
                field.metadata["doc"],
            )


@contextmanager
def usable(name: str, value: object = "") -> Iterator[None]:
    """A file that cannot be read, or a ValueError, inside of it becomes a SettingError that names the setting, and its value."""
    try:
        yield
    except SettingError:
        raise
    except OSError as error:
        raise SettingError(f"{name}: {error.filename} cannot be read ({error.strerror}); correct it or unset it") from error
    except ValueError as error:
        raise SettingError(f"{name}{f' is {value}' if str(value) else ''}: {error}") from error


def given(section: str, field: str, env: Mapping[str, str] | None = None) -> str | None:
    """What environment or file say of a setting of whatever section, as it is written there; None when they say nothing.

    For whoever must not import the section: the kit knows no service.
    """
    environment = os.environ if env is None else env
    name = f"TOOLOO_{field.upper()}" if section == "mesh" else f"TOOLOO_{section.upper()}_{field.upper()}"
    value = environment.get(name, _table(_file_tables(environment, None), section).get(field))
    return None if value is None else str(value)


def _file_tables(env: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    path = file or Path(env.get("TOOLOO_CONFIG", "tooloo.toml"))
    if not path.exists():
        if "TOOLOO_CONFIG" in env:
            raise SettingError(f"TOOLOO_CONFIG names {path}, which does not exist; correct it or unset it")
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingError(
            f"the settings file {path} cannot be read ({error.strerror}); correct TOOLOO_CONFIG or unset it"
        ) from error


def _table(tables: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """The table of a section; empty when the file has none."""
    table = tables.get(section, {})
    if not isinstance(table, dict):
        raise SettingError(f"{section} in the settings file is no table; write [{section}] above its settings")
    return table


def show(value: object) -> str:
    """A value in the form in which it may be written in the environment; a path of the checkout without the checkout's own."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, Path) and value.is_relative_to(CHECKOUT):
        return str(value.relative_to(CHECKOUT))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_name(hint: Any) -> str:
    return {timedelta: "duration", Path: "path", bool: "bool", int: "int", float: "float", str: "text"}.get(hint, "list")


def _parse(name: str, hint: Any, raw: object, limits: Mapping[str, Any]) -> object:
    try:
        value = _convert(hint, raw)
    except (ValueError, TypeError, OverflowError) as error:
        raise SettingError(f"{name} is {raw!r}, which is no {_type_name(hint)}: {error}") from error
    low, high = limits["low"], limits["high"]
    if isinstance(value, timedelta):
        least = _SHORTEST if low is None else timedelta(seconds=low)
        if not least <= value <= _LONGEST:
            bound = f"at least {show(least)}" if value < least else f"at most {_LONGEST.days}d"
            raise SettingError(f"{name} is {raw!r}; it must be {bound}")
    if limits["choices"] and value not in limits["choices"]:
        raise SettingError(f"{name} is {raw!r}; it must be one of {', '.join(map(str, limits['choices']))}")
    if hint is int and high is None:
        high = _LARGEST
    # the other way round a NaN would pass, which is neither below nor above
    if isinstance(value, int | float) and not ((low is None or value >= low) and (high is None or value <= high)):
        raise SettingError(f"{name} is {value}; it must be {_between(low, high)}")
    return value


def _between(low: float | None, high: float | None) -> str:
    """Bounds in words."""
    if low is None or high is None:
        return f"at most {high}" if low is None else f"at least {low}"
    return f"at least {low}" if high == _LARGEST else f"between {low} and {high}"


def _convert(hint: Any, raw: object) -> object:
    if hint is bool:
        return _bool(raw)
    if hint is timedelta:
        return duration(str(raw))
    if hint in (int, float, str, Path):
        if hint is int and (isinstance(raw, bool) or (isinstance(raw, float) and not raw.is_integer())):
            raise ValueError("write a whole number")
        return hint(raw)
    items = raw if isinstance(raw, list) else str(raw).split(",")
    return tuple(str(item).strip() for item in items if str(item).strip())


def _bool(raw: object) -> bool:
    text = str(raw).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("write true or false")
    return text in _TRUE


def duration(text: str) -> timedelta:
    """A length of time written as "250ms", "30s", "5m", "2h" or "7d"; ValueError otherwise."""
    match = _DURATION.match(text.strip())
    if not match:
        raise ValueError('write a number and a unit, e.g. "250ms", "30s", "5m", "2h", "7d"')
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        raise ValueError("that is longer than any time") from None


def _ports() -> type[Section]:
    """A port for each service of the catalogue, e.g. `learning_port`: a new service gets its setting without a line here."""
    fields = [
        (f"{spec.name}_port", int, setting(spec.port, f"Port of the {spec.title.lower()}.", low=1, high=65535)) for spec in SERVICES
    ]
    return dataclasses.make_dataclass("_Ports", fields, bases=(Section,), frozen=True)


if TYPE_CHECKING:
    # their names are known when it runs; `port_of` reads them
    _Ports = Section
else:
    _Ports = _ports()


@dataclasses.dataclass(frozen=True)
class MeshSettings(_Ports):
    """What every process of the mesh shares."""

    section: ClassVar[str] = "mesh"

    data_folder: Path = setting(Path("var"), "Folder that holds all state, logs and sockets.")
    socket_folder: Path = setting(
        Path(),
        "Folder of the unix sockets; `.` means `run` in the data folder. Give a short path when that one is over 80 characters.",
    )
    listen_address: str = setting("127.0.0.1", "Address the door listens on.")
    door_port: int = setting(DOOR_PORT, "Port of the door: the whole mesh.", low=1, high=65535)
    admin_port: int = setting(
        3999, "Port of Envoy's admin page, on loopback; also guards against a second mesh.", low=1, high=65535
    )
    extra_contracts: tuple[str, ...] = setting(
        (), "Descriptor sets with event types of your own (docs/how-to/own-events.md); every process of the mesh reads them."
    )
    log_level: str = setting("INFO", "Least severe log level that is written: DEBUG, INFO, WARNING or ERROR.")
    log_bytes: int = setting(
        32 * 1024 * 1024,
        "Size at which the log of a process is renamed and a new one begun; Envoy's when it starts.",
        low=64 * 1024,
    )
    log_files: int = setting(1, "Renamed logs that are kept of each process.", low=1, high=100)
    reflection: bool = setting(True, "Answer gRPC server reflection; turn it off in production.")
    drain_grace: timedelta = setting(
        timedelta(seconds=5), "How long running calls may take to end when a process is told to stop.", low=0
    )
    max_message_bytes: int = setting(4 * 1024 * 1024, "Largest gRPC message in bytes, in and out.", low=1024, high=INT32)
    large_message_bytes: int = setting(
        32 * 1024 * 1024,
        "Largest request in bytes of a call that may carry large bytes, such as a chat with pictures; in JSON as base64.",
        low=1024,
        high=INT32,
    )
    max_concurrent_rpcs: int = setting(
        2048, "Calls a process answers at a time; more are refused with RESOURCE_EXHAUSTED.", low=1, high=1_000_000
    )
    call_deadline: timedelta = setting(timedelta(seconds=10), "Deadline of a call to another service when the caller sets none.")
    call_attempts: int = setting(4, "Attempts of a call to another service that answers UNAVAILABLE.", low=1, high=5)
    commit_batch: int = setting(256, "Transactions that may share one commit.", low=1)
    write_queue: int = setting(4096, "Transactions that may wait for the writer; more are refused with RESOURCE_EXHAUSTED.", low=1)
    read_connections: int = setting(2, "Connections for reads beside the writer.", low=1, high=64)
    busy_timeout: timedelta = setting(timedelta(seconds=5), "How long a statement waits for another process's write.", low=0)
    request_id_age: timedelta = setting(timedelta(days=7), "How long the answer of a request_id is kept.", low=0)
    outbox_batch: int = setting(200, "Events the outbox publishes at a time.", low=1, high=1000)
    outbox_interval: timedelta = setting(
        timedelta(milliseconds=50),
        "Shortest time between two publishes of the outbox; events that come meanwhile go together.",
        low=0,
    )
    inbox_batch: int = setting(200, "Events the inbox takes at a time.", low=1, high=1000)
    inbox_age: timedelta = setting(
        timedelta(days=30), "How long the inbox remembers which events were handled; at least 1d.", low=86400
    )
    restart_backoff: timedelta = setting(
        timedelta(milliseconds=200), "Wait before a died process is started again; doubles with each death in a row."
    )
    restart_backoff_limit: timedelta = setting(timedelta(seconds=10), "Longest wait before a died process is started again.")
    health_interval: timedelta = setting(timedelta(seconds=1), "How often the process manager asks each process for its health.")
    boot_attempts: int = setting(3, "Deaths before it ever served after which the start of the mesh is given up.", low=1)
    boot_timeout: timedelta = setting(timedelta(seconds=60), "How long a process may take until it serves.")

    def check(self) -> None:
        """SettingError for a log level that there is not."""
        if self.log_level.upper() not in logging.getLevelNamesMapping():
            raise SettingError(f"{self.env_name('log_level')} is {self.log_level!r}; write DEBUG, INFO, WARNING or ERROR")

    @property
    def sockets(self) -> Path:
        """Folder of the unix sockets."""
        folder = self.data_folder / "run" if self.socket_folder == Path() else self.socket_folder
        folder = folder.absolute()
        if len(str(folder)) > _LONGEST_SOCKET_FOLDER:
            raise SettingError(f"the socket folder {folder} is too long for unix sockets; set TOOLOO_SOCKET_FOLDER to a short path")
        return folder

    def port_of(self, service: str) -> int:
        """Public port of a service."""
        return int(getattr(self, f"{service}_port"))

    def socket_of(self, service: str, replica: int = 0) -> Path:
        """Unix socket of a replica of a service."""
        return self.sockets / f"{service}-{replica}.sock"
