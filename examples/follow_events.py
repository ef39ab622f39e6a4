"""Follow the log of events from its beginning: `python examples/follow_events.py [127.0.0.1:3000] [count]`."""

import sys

import grpc
from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub


def main(target: str, count: int) -> None:
    """Prints so many events with their positions, then ends the stream."""
    request = bus.FollowRequest(stamp_positions=True)
    request.start.beginning = True
    with grpc.insecure_channel(target) as channel:
        stream = EventBusStub(channel).Follow(request)
        for batch in stream:
            for event in batch.events:
                print(f"{event.position:6} {event.type:24} {event.subject}")
                count -= 1
                if not count:
                    stream.cancel()
                    return


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:3000", int(sys.argv[2]) if len(sys.argv) > 2 else 20)
