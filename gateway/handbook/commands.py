"""The pages of the command: every command, verb and option, as the command itself tells them."""

from collections.abc import Iterable
from functools import cache

from gateway.handbook import markdown
from mesh.catalogue import SERVICES
from mesh.cli import app, names, schema

_INTRODUCTION = """# The command `tooloo`

Every command takes `--json`, which prints JSON and nothing else.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the mesh refused; the message has the reason and the next step |
| 2 | wrong usage |
| 3 | the mesh or the service does not answer |
| 4 | a check found a fault |
| 130 | interrupted |

Each service has a group of verbs, made from its RPCs; their options are made from the fields of the request. A verb may be
shortened to its first words as long as no other verb begins with them.

"""


@cache
def verbs() -> dict[str, tuple[str, str]]:
    """Group and verb of each RPC by its full name, e.g. ("learning", "start-training")."""
    known = schema.load()
    return {rpc.name: (spec.name, verb) for spec in SERVICES for verb, rpc in names.of(list(known.of_service(spec))).items()}


def anchor(path: tuple[str, ...]) -> str:
    """Where a command stands on the page."""
    return "-".join(("tooloo", *path))


def pages() -> dict[str, str]:
    """The page of the commands, and one for the verbs of each service, by their places among those of docs/."""
    told = list(app.tree())
    groups = [spec for spec in SERVICES if spec.name not in app.command_files()]
    rows = ([f"[`tooloo {spec.name}`](verbs/{spec.name}.md)", f"Calls of the {spec.title}."] for spec in groups)
    known = {spec.name for spec in groups}
    own = (each for each in told if not known & set(each.path[:1]))
    made = {"reference/commands.md": _INTRODUCTION + markdown.table(("verbs", "what they are"), rows) + _commands(own)}
    for spec in groups:
        title = f"# Verbs of the {spec.title}\n"
        made[f"reference/verbs/{spec.name}.md"] = title + _commands(each for each in told if each.path[:1] == (spec.name,))
    return made


def _commands(told: Iterable[app.Described]) -> str:
    return "".join(map(_command, told))


def _command(command: app.Described) -> str:
    name = " ".join(("tooloo", *command.path))
    level = min(2 + max(len(command.path) - 1, 0), 4)
    text = f"\n{'#' * level} `{name}` {{ #{anchor(command.path)} }}\n\n{_help(command.help)}\n"
    if command.options:
        rows = ([markdown.code(option), markdown.prose(meaning)] for option, meaning in command.options)
        text += "\n" + markdown.table(("option", "meaning"), rows)
    return text


def _help(text: str) -> str:
    r"""Click's help as Markdown: \b before a paragraph means that its lines stay as they are."""
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    return "\n\n".join(
        "```\n" + paragraph.replace("\b", "").strip("\n") + "\n```"
        if "\b" in paragraph
        else markdown.prose(" ".join(paragraph.split()))
        for paragraph in paragraphs
    )
