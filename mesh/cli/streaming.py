"""Answers of a stream as they come: what tells progress becomes a bar, the rest is printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from mesh.cli import printing
from mesh.cli.console import Console, Failure
from mesh.cli.schema import REQUEST_ID, Rpc, Schema

PROGRESS = "tooloo.progress.v1.Progress"
# a stream with progress says a failure in its last message, for callers over REST; here the call fails with the same
_STATUS = "google.rpc.Status"
# a service is back after seconds, and the run that it lost begins again
_TRIES, _PAUSE = 5, 1.0
_BROKEN = {"UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL"}
Ask = Callable[[], Iterator[Message]]


def progress_field(message: Descriptor) -> str:
    """The field by which a message tells progress; "" when it tells none."""
    found = (each.name for each in message.fields if _is(each, PROGRESS) and not each.is_repeated)
    return next(found, "")


def _is(field: Any, kind: str) -> bool:
    return field.message_type is not None and field.message_type.full_name == kind


def show(console: Console, schema: Schema, rpc: Rpc, ask: Ask) -> None:
    """Makes the call and prints each answer at once; progress moves a bar, and only what is said beyond that is printed."""
    field = progress_field(rpc.response)
    if not field:
        for index, answer in enumerate(ask()):
            printing.show_part(console, schema, answer, first=index == 0)
        return
    first, answers = True, _resumed(console, ask) if REQUEST_ID in rpc.request.fields_by_name else ask()
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


def _resumed(console: Console, ask: Ask) -> Iterator[Message]:
    """Asks again for a stream that broke after it had begun: the request id is the same, so the work on its way is joined."""
    begun = False
    for tries in range(1, _TRIES + 1):
        try:
            for answer in ask():
                begun = True
                yield answer
        except Failure as failure:
            # what has a reason is a refusal, which would come again
            is_broken = failure.detail.get("code") in _BROKEN and "reason" not in failure.detail
            if not (begun and is_broken) or tries == _TRIES:
                raise
            console.say("the stream broke off; asking again")
        else:
            return
        time.sleep(_PAUSE)


def _rest(answer: Message) -> Message:
    """What an answer says beyond its progress."""
    rest = type(answer)()
    rest.CopyFrom(answer)
    for field, _ in answer.ListFields():
        if _is(field, PROGRESS) or _is(field, _STATUS):
            rest.ClearField(field.name)
    return rest
