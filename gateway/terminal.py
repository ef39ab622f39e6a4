"""What a person at the terminal is told: what becomes ready, what dies, and, when all is ready, where everything is."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import which

from mesh import unheard
from mesh.address import here
from mesh.catalogue import SERVICES
from mesh.child import Child, State
from mesh.settings import MeshSettings

# a call that changes something, answers something worth reading and needs nothing that is not there
_TRY = """curl -X POST {url}/api/v1/training/start -d '{{"userId":"ada","focusArea":"python","roundCount":3}}'"""
_COMMAND = ("status", "logs -f", "events follow", "call GetHealth", "down")


class Terminal:
    """Listens to the supervisor and says it in one line each."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._titles = {spec.name: spec.title for spec in SERVICES}

    def process_changed(self, child: Child) -> None:
        """One line for each process that becomes ready or dies."""
        service = child.program.service
        if child.state is State.SERVING:
            port = self._settings.port_of(service) if service in self._titles else self._settings.door_port
            self.ready(self._titles.get(service, "Door (Envoy)"), port)
        elif child.state is State.CRASHED:
            say(f"✗ {child.name} ended ({child.last_exit}); it starts again. Its log: {child.log_file}")

    def ready(self, title: str, port: int) -> None:
        """One line for a service that serves."""
        say(f"✓ {title} (port {port}) ready")

    def welcome(self, seconds: float) -> None:
        """One block: how long it took, what to open, the ports, the data, the command and one call to try."""
        say("\n".join(block(self._settings, seconds)))


def block(settings: MeshSettings, seconds: float) -> Iterator[str]:
    """The lines of the block that ends a start."""
    host = here(settings.listen_address)
    host = "localhost" if host in ("127.0.0.1", "[::1]") else host
    url = f"http://{host}:{settings.door_port}"
    yield f"\nThe mesh is ready after {seconds:.1f} s. Ctrl-C stops it.\n"
    yield from _pairs(
        [
            ("control room", f"{url}/"),
            ("every call", f"{url}/docs  ({url}/openapi.json)"),
            ("health", f"{url}/health"),
            ("gRPC", f"{host}:{settings.door_port}  (every service{', with reflection' if settings.reflection else ''})"),
            ("data", str(settings.data_folder.absolute())),
        ]
    )
    yield "\n  Each service also has a port of its own, for REST, gRPC and gRPC-Web:\n"
    yield from _table([(spec.title, f"{host}:{settings.port_of(spec.name)}") for spec in SERVICES])
    yield ""
    yield from _pairs([("command", f"{_program()} {' · '.join(_COMMAND)}")])
    yield from _pairs([("try", _TRY.format(url=url))])


def _program() -> str:
    """The command as it can be typed here: by its name when it is on the path, else by where it stands."""
    beside = Path(sys.executable).parent / "tooloo"
    if which("tooloo") or not beside.exists():
        return "tooloo"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _pairs(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    return (f"  {name:<14}{value}" for name, value in rows)


def _table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Two columns in a frame."""
    left, right = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    yield f"  ┌{'─' * left}┬{'─' * right}┐"
    for name, value in rows:
        yield f"  │ {name:<{left - 1}}│ {value:<{right - 1}}│"
    yield f"  └{'─' * left}┴{'─' * right}┘"


def say(text: str) -> None:
    """A line on the terminal, at once; nothing where nobody can read it: the mesh does not live by being watched."""
    try:
        sys.stdout.write(_writable(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        unheard.let_go()
    except OSError:
        # a file on a full disk, or a terminal that was closed
        return


def _writable(text: str) -> str:
    """The text with a question mark for each character that the terminal's encoding does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
