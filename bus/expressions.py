"""Expressions in CEL (Common Expression Language) over one event: compiled once, judged for each event, never a crash.

The library bounds the work: 32 levels of nesting, 10,000 turns of all loops together, regular expressions in linear time.
https://github.com/cel-expr/cel-python
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cel_expr_python import cel
from google.protobuf.message import DecodeError, Message
from tooloo.event.v1.event_pb2 import Event

from bus.filters import ExpressionError, Failed, Judgement, Verdict
from mesh import contracts

# the variables live in a container of this name, and CEL looks there first: so `type` is the event's, not CEL's own function
_CONTAINER = "event"
_VARIABLES: Mapping[str, tuple[cel.Type, Callable[[int, Event], Any]]] = {
    "id": (cel.Type.STRING, lambda _, event: event.id),
    "type": (cel.Type.STRING, lambda _, event: event.type),
    "source": (cel.Type.STRING, lambda _, event: event.source),
    "subject": (cel.Type.STRING, lambda _, event: event.subject),
    "time": (cel.Type.TIMESTAMP, lambda _, event: event.time),
    "attributes": (cel.Type.Map(cel.Type.STRING, cel.Type.STRING), lambda _, event: dict(event.attributes)),
    "correlation_id": (cel.Type.STRING, lambda _, event: event.correlation_id),
    "causation_id": (cel.Type.STRING, lambda _, event: event.causation_id),
    "position": (cel.Type.INT, lambda position, _: position),
    # which message it is shows only when an event is there, so a field that it has not is found out then
    "data": (cel.Type.DYN, lambda _, event: _message(event)),
}
_PLACE = re.compile(r"(?:ERROR: )?<input>:(-?\d+):(-?\d+): ")
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$|\(in container '\w+'\)\s*")
_MIXED = re.compile(r"overload.*\((?:int\w*, double|double, int\w*)\)")
_MIXED_HINT = "; int and double do not mix: write 1.0, or double(x)"
_LONGEST_ERROR = 1000


class Expression:
    """One expression, ready to judge events. ExpressionError when the text cannot be compiled or can never be true or false."""

    def __init__(self, text: str) -> None:
        try:
            self._program = _environment().compile(text)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExpressionError(_explained(str(error))) from error
        kind = self._program.return_type()
        if kind not in (cel.Type.BOOL, cel.Type.DYN):
            raise ExpressionError(f"the expression gives {_kind_name(kind)}; it must give true or false")
        # a name that is not in the text is never looked up, and `data` is dear: it has to be decoded
        self._used = [(f"{_CONTAINER}.{name}", value) for name, (_, value) in _VARIABLES.items() if name in text]

    def judge(self, position: int, event: Event) -> Judgement:
        """Whether it holds for an event; Failed when that cannot be told."""
        try:
            result = self._program.eval(data={name: value(position, event) for name, value in self._used})
            kind = result.type()
            if kind == cel.Type.BOOL:
                return Verdict.WANTED if result.value() else Verdict.PASSED_OVER
            if kind == cel.Type.ERROR:
                return Failed(_explained(str(result.value())))
        except (RuntimeError, ValueError, TypeError, DecodeError) as error:
            return Failed(_explained(str(error)))
        return Failed(f"the expression gave {_kind_name(kind)}, not true or false")


@cache
def _environment() -> cel.Env:
    variables = {f"{_CONTAINER}.{name}": kind for name, (kind, _) in _VARIABLES.items()}
    return cel.NewEnv(contracts.pool(), variables=variables, container=_CONTAINER)


def _message(event: Event) -> Message:
    """The event's own message; ValueError when the contracts no longer have it."""
    name = event.data.TypeName()
    try:
        return _class_of(name).FromString(event.data.value)
    except KeyError:
        raise ValueError(f"the contracts have no message {name!r}") from None


@cache
def _class_of(name: str) -> type[Message]:
    return contracts.message_class(name)


def _kind_name(kind: cel.Type) -> str:
    name = str(kind.name())
    return name if "." in name else name.lower()


def _explained(text: str) -> str:
    """The library's error as one line: what is wrong, and where, without its picture of the source."""
    lines = [line for line in text.splitlines() if not line.startswith(" |")]
    plain = "; ".join(_STATUS.sub("", line).strip() for line in lines if line.strip())
    placed = _PLACE.sub(r"line \1, column \2: ", plain)[:_LONGEST_ERROR]
    return placed + _MIXED_HINT if _MIXED.search(placed) else placed
