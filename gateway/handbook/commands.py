"""The page of the command: every command, verb and option, as the command itself tells them."""

from gateway.handbook import markdown
from mesh.cli import app

_INTRODUCTION = """# The command `tooloo`

Every command takes `--json`, which prints JSON and nothing else. The verbs of a service are made from its RPCs, and their options
from the fields of the request.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the mesh refused; the message has the reason and the next step |
| 2 | wrong usage |
| 3 | the mesh or the service does not answer |
| 4 | a check found a fault |
| 130 | interrupted |
"""


def anchor(path: tuple[str, ...]) -> str:
    """Where a command stands on the page."""
    return "-".join(("tooloo", *path))


def page() -> str:
    """The whole page."""
    return _INTRODUCTION + "".join(map(_command, app.tree()))


def _command(command: app.Described) -> str:
    name = " ".join(("tooloo", *command.path))
    level = min(2 + max(len(command.path) - 1, 0), 4)
    text = f"\n{'#' * level} `{name}` {{ #{anchor(command.path)} }}\n\n{_help(command.help)}\n"
    if command.options:
        rows = ([markdown.code(option), meaning] for option, meaning in command.options)
        text += "\n" + markdown.table(("option", "meaning"), rows)
    return text


def _help(text: str) -> str:
    r"""Click's help as Markdown: \b before a paragraph means that its lines stay as they are."""
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    return "\n\n".join(
        "```\n" + paragraph.replace("\b", "").strip("\n") + "\n```" if "\b" in paragraph else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
