"""One process under supervision: started, watched until it is ready, started again when it dies, stopped in order."""

import asyncio
import contextlib
import enum
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mesh import logfile
from mesh.clock import Clock
from mesh.settings import MeshSettings

log = logging.getLogger(__name__)
# a process that served for so long has recovered: the next death counts from the start
_RECOVERED_SECONDS = 30.0


class BootError(RuntimeError):
    """A process that does not get ready; the message ends with the end of its log."""


class State(enum.Enum):
    """How a process does."""

    STARTING = "starting"
    SERVING = "serving"
    NOT_SERVING = "not serving"
    STOPPED = "stopped"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Program:
    """What to run, and how to see that it is ready: `probe` answers True when it serves and False when it does not (yet)."""

    name: str
    service: str
    command: Sequence[str]
    probe: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    socket: Path | None = None


class Child:
    """A program that is kept running until it is stopped; `changed` is called back after each change of its state."""

    def __init__(self, program: Program, settings: MeshSettings, clock: Clock, changed: Callable[["Child"], None]) -> None:
        self.program = program
        self.state = State.STOPPED
        self.restarts = 0
        self.started: datetime | None = None
        self.last_exit = ""
        self._has_served = False
        self._settings = settings
        self._clock = clock
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        # where in its log begins what was written since it was told to start
        self._log_from = 0
        self._keeper: asyncio.Task[None] | None = None
        # set when it serves, and when it died so often that waiting is no use
        self._decided = asyncio.Event()

    @property
    def name(self) -> str:
        """Name of the process, e.g. "learning-0"."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    @property
    def log_file(self) -> Path:
        """Where its output goes."""
        return self._settings.data_folder / "log" / f"{self.name}.jsonl"

    def start(self) -> None:
        """Starts it and keeps it running; returns at once."""
        if self._keeper is None or self._keeper.done():
            self._log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._keeper = asyncio.create_task(self._keep(), name=f"keeper of {self.name}")

    async def ready(self) -> None:
        """Waits until it serves; BootError, with the end of its log, when it does not in time or dies again and again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.boot_timeout.total_seconds()):
                await self._decided.wait()
        if self.state is not State.SERVING:
            end = self.last_exit or "no answer"
            raise BootError(f"{self.name} does not get ready ({end}); {self.log_file} ends with:\n{self.log_tail()}")

    async def stop(self) -> None:
        """Tells it to stop, waits for the grace, then kills it."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end_process()
        self._set(State.STOPPED)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log since it was told to start: what was wrong before that would only mislead."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            # one that is shorter was begun anew meanwhile
            file.seek(self._log_from if self._log_from <= os.fstat(file.fileno()).st_size else 0)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _set(self, state: State) -> None:
        if state is State.SERVING:
            self._has_served = True
            self._decided.set()
        else:
            self._decided.clear()
        if state is not self.state:
            self.state = state
            self._changed(self)

    async def _keep(self) -> None:
        """Runs the program again and again, with exponential backoff between deaths in a row."""
        deaths = 0
        while True:
            served_from = self._clock.monotonic()
            await self._run_once()
            served = self._clock.monotonic() - served_from
            deaths = 1 if served > _RECOVERED_SECONDS else deaths + 1
            self.restarts += 1
            if deaths >= self._settings.boot_attempts and not self._has_served:
                self._decided.set()
            wait = min(self._settings.restart_backoff * 2 ** (min(deaths, 16) - 1), self._settings.restart_backoff_limit)
            log.warning("%s ended (%s); it starts again in %.1f s", self.name, self.last_exit, wait.total_seconds())
            await asyncio.sleep(wait.total_seconds())

    async def _run_once(self) -> None:
        self._set(State.STARTING)
        self.started = self._clock.now()
        try:
            process = self._process = await self._spawn()
        except OSError as error:
            # no room for its log, no memory or no descriptor for it now: a death like any other, it is started again
            self.last_exit = f"could not be started: {error}"
            self._set(State.CRASHED)
            return
        watcher = asyncio.create_task(self._watch())
        try:
            code = await process.wait()
        finally:
            watcher.cancel()
        self.last_exit = f"signal {-code}" if code < 0 else f"exit {code}"
        self._set(State.CRASHED)

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        if logfile.shift_large(self.log_file, self._settings.log_bytes, self._settings.log_files):
            self._log_from = 0
        with self.log_file.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    **self.program.env,
                    "TOOLOO_SUPERVISOR": str(os.getpid()),
                    logfile.VARIABLE: str(self.log_file.absolute()),
                },
                # Ctrl-C in the terminal is for the supervisor alone, which then stops its children in order
                start_new_session=True,
            )

    async def _watch(self) -> None:
        """Asks it for its health: often until it is ready, then at the interval of the settings."""
        while True:
            serving = await self.program.probe()
            if serving:
                self._set(State.SERVING)
            elif self.state is State.SERVING:
                self._set(State.NOT_SERVING)
            pause = self._settings.health_interval.total_seconds() if serving else 0.03
            await asyncio.sleep(pause)

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            # a stopped process cannot hear SIGTERM
            process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self._settings.drain_grace.total_seconds() + 5):
                await process.wait()
        except TimeoutError:
            log.warning("%s did not end in time and is killed", self.name)
            process.kill()
            await process.wait()
