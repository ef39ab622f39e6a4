"""Which calls may carry large bytes, such as pictures for a model, as the contracts say: they take larger messages."""

from collections.abc import Sequence
from typing import cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh import rules
from mesh.settings import MeshSettings

# no message of the ordinary size holds that much of bytes
_LARGE = 4 * 1024 * 1024
_BODY = "google.api.HttpBody"
# what is around the bytes of a body when it is a message
_AROUND = 64 * 1024


def may_be_large(request: type[Message], response: type[Message]) -> bool:
    """Whether a call takes another vendor's bytes and gives such, or a field of bytes that its own rule lets be large."""
    if request.DESCRIPTOR.full_name == _BODY:
        return response.DESCRIPTOR.full_name == _BODY
    # upb's own class and the one of pure Python have the same fields
    seen, left = set(), [cast(Descriptor, request.DESCRIPTOR)]
    while left:
        message = left.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        if any(map(_is_large, message.fields)):
            return True
        left += [field.message_type for field in message.fields if field.message_type is not None]
    return False


def _is_large(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_BYTES and rules.of_field(field).bytes.max_len > _LARGE


def message_bytes(grpc_services: Sequence[str], settings: MeshSettings) -> int:
    """The largest message that a server of these services takes, and gives: what is asked so may be answered so."""
    pool, class_of = descriptor_pool.Default(), message_factory.GetMessageClass
    methods = [method for name in grpc_services for method in pool.FindServiceByName(name).methods]
    if not any(may_be_large(class_of(method.input_type), class_of(method.output_type)) for method in methods):
        return settings.max_message_bytes
    return max(settings.max_message_bytes, settings.large_message_bytes + _AROUND)
