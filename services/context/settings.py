"""Settings of the context service."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from mesh.settings import Section, SettingError, setting


@dataclass(frozen=True)
class ContextSettings(Section):
    """What may be indexed, and how much of it."""

    section: ClassVar[str] = "context"

    roots: tuple[str, ...] = setting(
        (".", "~"), "Folders inside which trees may be indexed; `.` is the folder where the mesh was started, `~` the user's home."
    )
    skip_names: tuple[str, ...] = setting(
        (".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules"),
        "Names of files and folders that are left out wherever they are, besides what .gitignore says.",
    )
    max_files: int = setting(200_000, "Files a tree may have; a larger one is refused.", low=1, high=10_000_000)
    max_tree_bytes: int = setting(4 * 1024**3, "Bytes that the files of a tree may have together; a larger one is refused.", low=1)
    max_file_bytes: int = setting(1024**2, "Size in bytes above which a file is skipped.", low=1, high=64 * 1024**2)
    max_symbols: int = setting(5_000, "Symbols that are kept of a file.", low=1, high=20_000)
    max_imports: int = setting(2_000, "Imports that are kept of a file.", low=1, high=20_000)
    max_central_files: int = setting(100, "Most central files that are kept of a tree.", low=1, high=1000)
    max_runs: int = setting(2, "Trees that are indexed at a time; more are refused with RESOURCE_EXHAUSTED.", low=1, high=64)
    worker_idle: timedelta = setting(
        timedelta(seconds=30),
        "How long parser processes are kept for the next run; a start of them takes longer than a small run.",
        low=0,
    )
    run_lease: timedelta = setting(timedelta(seconds=15), "After this silence of a process its runs count as ended.")
    workers: int = setting(2, "Processes that parse for one run.", low=1, high=64)
    worker_memory_bytes: int = setting(2 * 1024**3, "Address space that a parsing process may use.", low=256 * 1024**2)
    parse_timeout: timedelta = setting(timedelta(seconds=30), "How long a batch of files, or a file alone, may take to parse.")
    batch_files: int = setting(64, "Files that are read and stored together.", low=1, high=1000)
    freshness_interval: timedelta = setting(
        timedelta(seconds=30), "How often each index's commit is compared with the one that is checked out."
    )
    progress_interval: timedelta = setting(
        timedelta(milliseconds=250), "How often the progress of a run is told to each caller that watches it."
    )
    progress_heartbeat: timedelta = setting(
        timedelta(seconds=5), "Longest silence of IndexRepository when the caller names none: the same progress comes again."
    )

    def check(self) -> None:
        """SettingError for a path where a name is wanted: it would leave nothing out."""
        for name in self.skip_names:
            if "/" in name:
                raise SettingError(f"{self.env_name('skip_names')} has {name!r}; write a name without /; .gitignore takes paths")
