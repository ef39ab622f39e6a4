"""What happened since last time: `python -m examples.assistant.listen USER [COUNT]`; it ends after so many events, else never."""

import asyncio
import sys

from google.protobuf import text_format
from tooloo.bus.v1.subscription_pb2 import EventFilter
from tooloo.event.v1.event_pb2 import Event

from examples.assistant.door import DOOR
from mesh import contracts
from mesh.follow import BusClient

TYPES = ["training.completed", "dag.completed", "budget.threshold_exceeded"]


async def listen(user: str, count: int) -> None:
    """Prints events; the bus knows how far this listener is, so it goes on there when it is started again."""
    bus = BusClient(DOOR)
    await bus.start()
    about_the_user = EventFilter(attributes={"user": user})
    async with bus.subscription(f"assistant-{user}", TYPES, where=about_the_user) as events:
        async for event in events:
            print(f"{event.type}:", said(event))
            await events.ack(event)
            count -= 1
            if not count:
                break
    await bus.close()


def said(event: Event) -> str:
    """The data of any event as text; the contracts know its message by its name."""
    message = contracts.message_class(event.data.type_url.rsplit("/", 1)[-1])
    return text_format.MessageToString(message.FromString(event.data.value), as_one_line=True)


if __name__ == "__main__":
    asyncio.run(listen(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
