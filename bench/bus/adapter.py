"""Our bus as the harness drives it: the interface of its `base.BaseAdapter`, on the public clients and a server of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from bench.bus import events, server, shared
from mesh.follow import BusClient

OnBatch = Callable[[Sequence[bytes]], bool]
# as many as the peers' consumers may hold
_IN_FLIGHT = 10_000
_BATCH = 1_000
_UNACKNOWLEDGED = 4


class Adapter:
    """One instance lives in one worker process. `info` is what the workers are told; reset() leaves notes in it."""

    VARIANTS: ClassVar = {
        "default": "fsync of the write-ahead log (synchronous=FULL) before each ack; uniqueness, checksums and durable acks on"
    }
    MODES = ("helper", "raw")

    def __init__(self, info: dict[str, Any]) -> None:
        self._info = info
        self._client = BusClient(info["address"])
        self._maker = events.Maker()

    @classmethod
    def start(cls, base: str, variant: str) -> Any:
        """Starts the server; gives the harness's handle of it."""
        folder = Path(base)
        process, address = server.start(folder)
        server.wait_until_it_serves(process, address)
        return shared.harness().Server(process, {"address": address, "after": 0})

    async def connect(self) -> None:
        """Opens the channel."""
        await self._client.start()

    async def close(self) -> None:
        """Closes the channel."""
        await self._client.close()

    async def reset(self) -> None:
        """No subscriptions, and what was published before is passed over: a log is not emptied, so readers begin at its head."""
        stats = await self._client.stub.GetBusStats(pb.GetBusStatsRequest())
        for each in stats.subscriptions:
            await self._client.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name=each.name))
        self._info.update(after=stats.head_position)

    async def publish(self, name: str, payload: bytes) -> None:
        """One event; returns after the durable ack."""
        await self._client.publish([self._maker.one(name, payload)])

    async def publish_many(self, count: int, payload: bytes) -> None:
        """Events of the types in turn, as fast as acks allow: one stream, with a few requests unacknowledged at a time."""
        call = self._client.stub.PublishStream()
        sent = acknowledged = 0
        for start in range(0, count, _BATCH):
            sent += 1
            request = pb.PublishStreamRequest(sequence=sent)
            self._maker.add(request.events, range(start, min(count, start + _BATCH)), payload)
            await call.write(request)
            while sent - acknowledged >= _UNACKNOWLEDGED:
                acknowledged = _answer(await call.read()).sequence
        await call.done_writing()
        while acknowledged < sent:
            acknowledged = _answer(await call.read()).sequence

    async def prepare_consumer(self, durable: str, wanted: str | None, mode: str) -> None:
        """Makes the subscription, at the place where the log was reset."""
        definition = self._definition(durable, wanted)
        definition.start.after_position = self._info["after"]
        await self._client.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=definition))

    async def consume(self, durable: str, on_batch: OnBatch, wanted: str | None, mode: str) -> None:
        """Delivers from the beginning, acking; ends when on_batch returns True."""
        if mode == "raw":
            await self._consume_raw(durable, on_batch)
        else:
            await self._consume_with_helper(durable, on_batch, wanted)

    async def _consume_with_helper(self, durable: str, on_batch: OnBatch, wanted: str | None) -> None:
        subscription = self._client.subscription(durable, _types(wanted), order_by_subject=False, max_in_flight=_IN_FLIGHT)
        async with subscription as deliveries:
            async for batch in deliveries.batches():
                stop = on_batch(events.payloads_of(delivery.event for delivery in batch))
                await deliveries.settle([delivery.position for delivery in batch])
                if stop:
                    return

    async def _consume_raw(self, durable: str, on_batch: OnBatch) -> None:
        call = self._client.stub.Pull()
        await call.write(pb.PullRequest(subscription=durable, credit_events=_IN_FLIGHT))
        stop = False
        while not stop:
            response = await call.read()
            if not isinstance(response, pb.PullResponse):
                raise TypeError("the bus ended the stream")
            if not response.events:
                continue
            stop = on_batch(events.payloads_of(response.events))
            token, last, count = response.fencing_token, response.positions[-1], len(response.events)
            await call.write(pb.PullRequest(fencing_token=token, ack_up_to=last, credit_events=count, leave=stop))
        await call.read()

    def _definition(self, durable: str, wanted: str | None) -> subscription_pb2.Subscription:
        return subscription_pb2.Subscription(
            name=durable, filter=subscription_pb2.EventFilter(types=_types(wanted)), max_in_flight=_IN_FLIGHT
        )


def _answer(response: object) -> pb.PublishStreamResponse:
    if not isinstance(response, pb.PublishStreamResponse):
        raise TypeError("the bus ended the stream")
    return response


def _types(wanted: str | None) -> list[str]:
    return [events.type_of(wanted or "*")]
