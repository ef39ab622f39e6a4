"""How the bus is put on a gRPC server: its hot calls take and give bytes, everything else messages.

A publish is scanned as the bytes it came in, and a delivery is a header followed by stored bytes; decoding and encoding both would
cost more than all else that the bus does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusServicer, add_EventBusServicer_to_server

from bus import looks

SERVICE = pb.DESCRIPTOR.services_by_name["EventBus"].full_name
# these check their requests themselves (bus/intake.py, bus/looks.py)
SELF_VALIDATING = frozenset({f"{SERVICE}/Publish", f"{SERVICE}/PublishStream", looks.PULL, looks.FOLLOW, looks.READ})


def add_to_server(servicer: EventBusServicer, server: Any) -> None:
    """Registers the bus; as the generated function does, but for the calls whose messages stay bytes."""
    table = _Table()
    add_EventBusServicer_to_server(servicer, table)  # type: ignore[arg-type]  # it is asked for its handlers alone
    handlers = {
        **table.handlers,
        "Publish": grpc.unary_unary_rpc_method_handler(servicer.Publish, response_serializer=pb.PublishResponse.SerializeToString),
        "PublishStream": grpc.stream_stream_rpc_method_handler(
            servicer.PublishStream, response_serializer=pb.PublishStreamResponse.SerializeToString
        ),
        "Follow": grpc.unary_stream_rpc_method_handler(servicer.Follow, request_deserializer=pb.FollowRequest.FromString),
        "Pull": grpc.stream_stream_rpc_method_handler(servicer.Pull, request_deserializer=pb.PullRequest.FromString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class _Table:
    """Stands for a server while the generated function registers its handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Nothing: the same handlers come by name."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Takes the handlers of the service by the names of their calls."""
        self.handlers.update(handlers)
