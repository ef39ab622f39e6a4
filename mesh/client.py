"""Calls to other services: through the door, with a deadline, bounded retries and the trace of the current call."""

import json
from datetime import timedelta
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from mesh import call, contracts
from mesh.settings import MeshSettings

R = TypeVar("R", bound=Message)


def service_config(attempts: int) -> str:
    """GRPC's own retry policy (gRFC A6): only UNAVAILABLE is tried again, with exponential backoff."""
    policy = {
        "maxAttempts": attempts,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config: dict[str, Any] = {"methodConfig": [{"name": [{}], **({"retryPolicy": policy} if attempts > 1 else {})}]}
    return json.dumps(config)


def options(settings: MeshSettings) -> list[tuple[str, Any]]:
    """Channel options that every channel of the mesh has."""
    return [
        ("grpc.service_config", service_config(settings.call_attempts)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # the door of this machine stands before no proxy of the environment's
        ("grpc.enable_http_proxy", 0),
        # a restarted server listens on the same path: a channel of our own finds it at once
        ("grpc.use_local_subchannel_pool", 1),
    ]


class MeshClient:
    """A channel to the whole mesh. Typed stubs take `channel`; `call` takes any unary RPC by its full name."""

    def __init__(self, target: str, settings: MeshSettings) -> None:
        self.target = target
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, opened when it is first asked for."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target, options=options(self._settings))
        return self._channel

    async def call(self, method: str, request: Message, timeout: timedelta | None = None) -> Message:
        """Calls a unary RPC, e.g. "tooloo.learning.v1.LearningService/StartTraining".

        A door that is not there yet, as when the whole mesh starts, is waited for until the deadline.
        KeyError when the contracts have no such RPC, ValueError when it streams; grpc.aio.AioRpcError when the call fails.
        """
        known = contracts.methods()[method]
        if not known.unary:
            raise ValueError(f"{method} streams; only unary calls can be made by name")
        invoke = self.channel.unary_unary(
            f"/{method}",
            request_serializer=known.request.SerializeToString,
            response_deserializer=known.response.FromString,
        )
        deadline = timeout or self._settings.call_deadline
        answer: Message = await invoke(
            request, timeout=deadline.total_seconds(), metadata=tuple(call.to_metadata(call.current.get())), wait_for_ready=True
        )
        return answer

    async def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
