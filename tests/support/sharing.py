"""Which files of tests one worker runs, because they share what is dear to start: a mesh, a browser, far ends."""

from collections.abc import Mapping

from xdist.scheduler import LoadFileScheduling

# files to groups, by the beginning of their path; every other file stands for itself. The browser's groups are of the same length
GROUPS: Mapping[str, str] = {
    "tests/browser/test_accessible": "browser, half",
    "tests/browser/test_calls": "browser, half",
    "tests/browser/test_events": "browser, half",
    "tests/browser/": "browser, the other half",
    "tests/fuzz/": "fuzz",
    "tests/journeys/test_lifecycle": "journeys to far ends",
    "tests/journeys/test_oauth": "journeys to far ends",
    "tests/journeys/test_schedule": "journeys to far ends",
}


def group(file: str) -> str:
    """The name of what is run in one place, for a file by its path in the checkout."""
    return next((name for beginning, name in GROUPS.items() if file.startswith(beginning)), file)


class SharingFiles(LoadFileScheduling):  # type: ignore[misc] # it ships no types
    """A file to a worker, as `--dist loadfile` has it, and files that share something to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return group(super()._split_scope(nodeid))
