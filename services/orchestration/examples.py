"""The intents as their file has them: names, descriptions, examples, and examples of what is none of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Intent:
    """An intent as the file has it."""

    name: str
    description: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """What the classifier learns from."""

    intents: Mapping[str, Intent]
    out_of_scope: tuple[str, ...]


def read(document: Any) -> Examples:
    """The examples of a parsed file; ValueError for one of another form."""
    try:
        intents = [Intent(entry["name"], entry["description"], tuple(entry["examples"])) for entry in document["intents"]]
        return Examples({intent.name: intent for intent in intents}, tuple(document["outOfScope"]))
    except (KeyError, TypeError) as error:
        form = '{"intents": [{"name", "description", "examples": [...]}, ...], "outOfScope": [...]}'
        raise ValueError(f"the intents are not of the form {form} ({error!r})") from error
