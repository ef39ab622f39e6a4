"""A refusal made to fit into the headers of an answer: gRPC's clients refuse one whose headers are beyond 8 KiB, whatever it says.

A message is percent-encoded there, three bytes for each that is not plain ASCII, and the details are in base64.
"""

from collections.abc import Iterator

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from mesh.contracts import message_class

_MESSAGE_BYTES = 2048
# in base64 a third more
_STATUS_BYTES = 3600
# texts are cut to so many characters, until the whole fits
_TEXTS = (400, 200, 100, 50, 25)
_PLAIN = range(0x20, 0x7F)


def fitting_message(text: str) -> str:
    """As much of a text as there is room for when it is percent-encoded."""
    room = _MESSAGE_BYTES
    for index, char in enumerate(text):
        room -= 1 if ord(char) in _PLAIN else 3 * len(char.encode(errors="replace"))
        if room < 0:
            return text[:index]
    return text


def fitting_status(status: Status) -> Status:
    """The same with texts cut short where there is no room for them, and in the end with its first detail alone."""
    if status.ByteSize() <= _STATUS_BYTES:
        return status
    return next((each for each in _shorter(status) if each.ByteSize() <= _STATUS_BYTES), Status(code=status.code))


def _shorter(status: Status) -> Iterator[Status]:
    for longest in _TEXTS:
        details = [_cut_detail(detail, longest) for detail in status.details]
        yield Status(code=status.code, message=status.message[:longest], details=details)
    yield Status(code=status.code, message=status.message[:longest], details=details[:1])


def _cut_detail(detail: Any, longest: int) -> Any:
    try:
        message = message_class(detail.TypeName()).FromString(detail.value)
    except KeyError:
        # from a service whose contracts are not ours
        return detail
    _cut(message, longest)
    shorter = Any()
    shorter.Pack(message)
    return shorter


def _cut(message: Message, longest: int) -> None:
    """Cuts every text in a message."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, value[:longest])
        elif field.message_type and field.message_type.GetOptions().map_entry:
            for key in [key for key in value if isinstance(value[key], str)]:
                value[key] = value[key][:longest]
        elif field.message_type:
            for each in value if field.is_repeated else [value]:
                _cut(each, longest)
