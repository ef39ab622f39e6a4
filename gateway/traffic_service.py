"""The calls that show the traffic: gRPC in, the sampler's window, gRPC out."""

# grpcio's classes are generic in its type stubs only, so annotations must not be evaluated
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1 import traffic_pb2

from gateway.sampler import Sampler
from gateway.traffic import Tally, Window, quantile
from mesh.catalogue import SERVICES

Context = grpc.aio.ServicerContext[Any, Any]
_WINDOW, _INTERVAL = 10.0, 1.0


class TrafficCalls:
    """GetTraffic, WatchTraffic."""

    _sampler: Sampler

    async def GetTraffic(self, request: system.GetTrafficRequest, context: Context) -> system.GetTrafficResponse:
        """The traffic of one window."""
        return _response(await self._sampler.window(_seconds(request, "window", _WINDOW)))

    async def WatchTraffic(
        self, request: system.WatchTrafficRequest, context: Context
    ) -> AsyncIterator[system.WatchTrafficResponse]:
        """The traffic again and again."""
        window, interval = _seconds(request, "window", _WINDOW), _seconds(request, "interval", _INTERVAL)
        loop = asyncio.get_running_loop()
        with self._sampler.watched():
            due = loop.time()
            while True:
                yield system.WatchTrafficResponse(traffic=_response(await self._sampler.window(window)))
                due = max(due + interval, loop.time())
                await asyncio.sleep(due - loop.time())


def _seconds(request: system.GetTrafficRequest | system.WatchTrafficRequest, field: str, otherwise: float) -> float:
    given: Duration = getattr(request, field)
    return given.ToTimedelta().total_seconds() if request.HasField(field) else otherwise  # type: ignore[arg-type] # one of its fields


def _response(window: Window) -> system.GetTrafficResponse:
    services = [_service(spec.name, window.services.get(spec.name, Tally()), window.seconds) for spec in SERVICES]
    response = system.GetTrafficResponse(services=services)
    response.window.FromTimedelta(timedelta(seconds=window.seconds))
    response.time.FromDatetime(window.time)
    return response


def _service(name: str, tally: Tally, seconds: float) -> traffic_pb2.ServiceTraffic:
    message = traffic_pb2.ServiceTraffic(
        service=name,
        calls=tally.calls,
        failed=tally.failed,
        refused=tally.refused,
        active=tally.active,
        calls_per_second=tally.calls / seconds,
    )
    for share, field in ((0.5, message.p50), (0.99, message.p99)):
        microseconds = quantile(tally.times, share)
        if microseconds is not None:
            field.FromTimedelta(timedelta(microseconds=round(microseconds)))
    return message
