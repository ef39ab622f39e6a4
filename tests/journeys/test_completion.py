"""Completion as a person has it: words typed into a real bash, zsh and fish on a terminal, Tab, and what stands there then."""

import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tooloo.learning.v1 import learning_service_pb2 as learning

from mesh import prose
from mesh.cli.verbs import first_sentence
from tests.support.mesh import Mesh

# as `make` wrote it into the environment that runs this
FOLDER = Path(sys.executable).parent
_SECONDS = 120
# the names of a running mesh are completed when it answers at once, which a loaded machine may not
_ATTEMPTS = 20
_TAB, _REPORT = "\t", "\x02"


@dataclass(frozen=True)
class Shell:
    """How a shell is started on a terminal, and what it is told at its start: ^B writes the line down and empties it."""

    name: str
    rc: str
    words: tuple[str, ...]
    settings: str


SHELLS = [
    Shell(
        "bash",
        ".bashrc",
        ("--rcfile", ".bashrc", "-i"),
        """
        eval "$(tooloo completion bash)"
        report() { printf '%s\\n' "$READLINE_LINE" >> report; READLINE_LINE= READLINE_POINT=0; }
        bind -x '"\\C-b": report'
        """,
    ),
    Shell(
        "zsh",
        ".zshrc",
        ("-i",),
        """
        autoload -Uz compinit && compinit -D -u
        eval "$(tooloo completion zsh)"
        report() { print -r -- "$BUFFER" >> report; BUFFER= }
        zle -N report && bindkey '^B' report
        """,
    ),
    Shell(
        "fish",
        ".config/fish/config.fish",
        ("-i",),
        """
        # asks for completions at every letter, beside those for which Tab is pressed
        set -g fish_autosuggestion_enabled 0
        tooloo completion fish > ~/.config/fish/completions/tooloo.fish
        bind \\cb 'commandline >> report; commandline ""'
        """,
    ),
]

# what is typed, and what it has become after Tab
COMPLETED = {
    "provider sel": "provider select-provider ",
    "call StartT": "call StartTraining ",
    "call tooloo.learning.v1.LearningService/S": "call tooloo.learning.v1.LearningService/StartTraining ",
    "provider select-provider --strategy chea": "provider select-provider --strategy cheapest ",
    "provider select-provider --est": "provider select-provider --estimated-tokens ",
    "learning start-training focus": "learning start-training focus_area=",
    "call SelectProvider query='a b' strategy=chea": "call SelectProvider query='a b' strategy=cheapest ",
    "call SelectProvider prefer_free=t": "call SelectProvider prefer_free=true ",
    "scale ana": "scale analytics=",
    "restart ana": "restart analytics ",
    "events follow --type training.comp": "events follow --type training.completed ",
    "events dead list lear": "events dead list learning ",
}


@contextmanager
def on_a_terminal(shell: Shell, home: Path, env: dict[str, str]) -> Iterator[int]:
    """The shell, interactive, in an empty home; gives the other end of its terminal."""
    (home / shell.rc).parent.mkdir(parents=True, exist_ok=True)
    # the second one is there already: at its first start fish would read every manual page of the machine
    for folder in (".config/fish/completions", ".local/share/fish/generated_completions"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / shell.rc).write_text(shell.settings + "\necho ready >> report\n")
    env = env | {"HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "PATH": f"{FOLDER}:{os.environ['PATH']}"}
    env.pop("XDG_CONFIG_HOME", None)
    env.pop("XDG_DATA_HOME", None)
    ours, theirs = pty.openpty()
    # without a terminal that controls it, fish stands still
    words = ["setsid", "--ctty", shell.name, *shell.words]
    with subprocess.Popen(words, cwd=home, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as started:
        os.close(theirs)
        reader = threading.Thread(target=_drain, args=(ours,))
        reader.start()
        try:
            yield ours
        finally:
            started.kill()
    reader.join()
    os.close(ours)


def _drain(terminal: int) -> None:
    """Reads what the shell draws until it is gone; a terminal that nobody reads from stands still."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass


def _reported(home: Path, count: int) -> list[str]:
    report = home / "report"
    for _ in range(_SECONDS * 20):
        if report.exists() and len(lines := report.read_text().splitlines()) >= count:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"the shell did not answer: {report.read_text() if report.exists() else 'nothing at all'}")


def needs(name: str) -> pytest.MarkDecorator:
    """Leaves a test out, by name, where the shell is not installed."""
    return pytest.mark.skipif(not shutil.which(name), reason=f"no {name} on this machine: apt-get install {name}")


@pytest.mark.parametrize("shell", [pytest.param(each, marks=needs(each.name), id=each.name) for each in SHELLS])
def test_a_shell_completes(mesh: Mesh, tmp_path: Path, shell: Shell) -> None:
    """Words of the contracts, and names of the running mesh; after "name=" the value follows without a space."""
    wanted = dict(COMPLETED)
    with on_a_terminal(shell, tmp_path, mesh.env) as terminal:
        count = len(_reported(tmp_path, 1))
        for _ in range(_ATTEMPTS):
            found = {}
            for line in wanted:
                os.write(terminal, f"tooloo {line}{_TAB}{_REPORT}".encode())
                count += 1
                found[line] = _reported(tmp_path, count)[-1].removeprefix("tooloo ")
            wanted = {line: full for line, full in wanted.items() if found[line] != full}
            if not wanted:
                return
    raise AssertionError(f"{shell.name} made {found} of it, not {wanted}")


@needs("fish")
def test_fish_shows_an_explanation_beyond_its_first_comma(mesh: Mesh) -> None:
    """What stands beside a word is the whole first sentence of the contract."""
    asked = f'set -p PATH {FOLDER}; tooloo completion fish | source; complete -C "tooloo learning start-training focus"'
    shown = subprocess.run(["fish", "-N", "-c", asked], env=mesh.env, capture_output=True, text=True, check=True, timeout=_SECONDS)
    word, explanation = shown.stdout.rstrip("\n").split("\t")
    field = learning.StartTrainingRequest.DESCRIPTOR.fields_by_name["focus_area"]
    assert (word, explanation) == ("focus_area=", first_sentence(prose.of(field.full_name)))
    assert "," in explanation
