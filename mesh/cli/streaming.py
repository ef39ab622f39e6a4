"""Answers of a stream as they come: what tells progress becomes a bar, the rest is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from mesh.cli import printing
from mesh.cli.console import Console
from mesh.cli.schema import Rpc, Schema

PROGRESS = "tooloo.progress.v1.Progress"
# a stream with progress says a failure in its last message, for callers over REST; here the call fails with the same
_STATUS = "google.rpc.Status"


def progress_field(message: Descriptor) -> str:
    """The field by which a message tells progress; "" when it tells none."""
    found = (each.name for each in message.fields if _is(each, PROGRESS) and not each.is_repeated)
    return next(found, "")


def _is(field: Any, kind: str) -> bool:
    return field.message_type is not None and field.message_type.full_name == kind


def show(console: Console, schema: Schema, rpc: Rpc, answers: Iterable[Message]) -> None:
    """Prints each answer at once; those of a call that tells progress move a bar, and only what they say beyond that is printed."""
    field = progress_field(rpc.response)
    if not field:
        for index, answer in enumerate(answers):
            printing.show_part(console, schema, answer, first=index == 0)
        return
    first = True
    with console.progress(rpc.method.name) as bar:
        for answer in answers:
            if answer.HasField(field):
                told = getattr(answer, field)
                bar.set(told.done, told.total, told.phase, told.unit)
            said = answer if console.json else _rest(answer)
            if said.ListFields():
                with bar.aside():
                    printing.show_part(console, schema, said, first=first)
                first = False


def _rest(answer: Message) -> Message:
    """What an answer says beyond its progress."""
    rest = type(answer)()
    rest.CopyFrom(answer)
    for field, _ in answer.ListFields():
        if _is(field, PROGRESS) or _is(field, _STATUS):
            rest.ClearField(field.name)
    return rest
