"""The page of events: every type of the catalogue with its owner, its fields and who listens."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from gateway.handbook import fields, markdown
from mesh import contracts, prose, testing
from mesh.catalogue import SERVICES
from mesh.contracts import EventType


async def listeners() -> dict[str, list[str]]:
    """Which services listen to which types or patterns: each is built, and says what it handles."""
    found: dict[str, list[str]] = {}
    for spec in SERVICES:
        if spec.module is None or not spec.module.startswith("services."):
            # the bus and the process manager hear nothing
            continue
        build = import_module(f"{spec.module}.__main__").build
        with tempfile.TemporaryDirectory() as folder:
            async with testing.running(spec.name, build, Path(folder)) as bench:
                for pattern in bench.hears:
                    found.setdefault(pattern, []).append(spec.name)
    return found


def page(heard: Mapping[str, Sequence[str]]) -> str:
    """The whole page."""
    catalogue = contracts.catalogue()
    rows = (
        [f"[`{each.type}`](#{markdown.anchor(each.type)})", each.owner, ", ".join(_who(each, heard))] for each in catalogue.values()
    )
    parts = [
        "# Events\n\nEvery event travels in one envelope and has one message as its data. Only its owner tells it. The bus keeps"
        " it, and gives it to every subscription whose filter it fits; a subscription of your own may listen to any of them.\n\n",
        markdown.table(("type", "told by", "heard by"), rows),
        _envelope(),
        *(_event(each, heard) for each in catalogue.values()),
        *_inside(catalogue),
    ]
    return "".join(parts)


def _who(event: EventType, heard: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The services that hear it, in order of their names: by its type, by a prefix, by everything."""
    prefixes = event.type.split(".")
    patterns = [event.type, "*", *(".".join([*prefixes[:count], "*"]) for count in range(1, len(prefixes)))]
    yield from sorted({service for pattern in patterns for service in heard.get(pattern, ())})


def _envelope() -> str:
    envelope = contracts.pool().FindMessageTypeByName("tooloo.event.v1.Event")
    text = f"{markdown.heading(2, 'The envelope', envelope.full_name)}\n{markdown.prose(prose.of(envelope.full_name))}\n\n"
    return text + fields.table(envelope, sent=True)


def _event(event: EventType, heard: Mapping[str, Sequence[str]]) -> str:
    message = contracts.pool().FindMessageTypeByName(event.message)
    listening = ", ".join(_who(event, heard)) or "no service of the mesh"
    return (
        f"{markdown.heading(2, event.type, event.type)}\n{markdown.prose(prose.of(event.message))}\n\n"
        f"`{event.message}` · told by **{event.owner}** · heard by {listening}\n\n{fields.table(message, sent=False)}"
    )


def _inside(catalogue: Mapping[str, EventType]) -> Iterator[str]:
    """The messages and enums that events hold."""
    messages, enums = fields.reachable(contracts.pool().FindMessageTypeByName(each.message) for each in catalogue.values())
    if messages or enums:
        yield "\n## Messages { #messages }\n"
    for message in messages:
        yield f"{markdown.heading(3, message.name, message.full_name)}\n{markdown.prose(prose.of(message.full_name))}\n\n"
        yield fields.table(message, sent=False)
    for enum in enums:
        values = ([f"`{value.name}`", markdown.prose(prose.of(f"{enum.full_name}.{value.name}"))] for value in enum.values)
        yield f"{markdown.heading(3, enum.name, enum.full_name)}\n{markdown.prose(prose.of(enum.full_name))}\n\n"
        yield markdown.table(("value", "meaning"), values)
