"""`make breaking`: compares the contracts with those of main (or origin/main) and says what callers would stumble over."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BRANCHES = ("main", "origin/main")


def check(root: Path) -> tuple[int, str]:
    """Exit code and report for the repository at `root`; 0 when nothing breaks or there is nothing to compare with."""
    branch = next((name for name in _BRANCHES if _has_contracts(root, name)), None)
    if branch is None:
        return 0, "main has no contracts yet, so there is nothing to break\n"
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    against = f".git#ref={branch},subdir=proto"
    compared = subprocess.run(
        [buf, "breaking", "proto", "--against", against], cwd=root, capture_output=True, text=True, check=False
    )
    if compared.returncode == 0:
        return 0, f"the contracts break nothing of {branch}\n"
    return 1, compared.stdout + compared.stderr


def _has_contracts(root: Path, branch: str) -> bool:
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{branch}:proto/buf.yaml"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    return found.returncode == 0


if __name__ == "__main__":
    code, report = check(ROOT)
    sys.stdout.write(report)
    raise SystemExit(code)
