"""Durable events in one process, no server: `python examples/bus_in_process.py [FILE]`. Run it twice: it goes on where it was.

Publishes three events, each at most once however often it is tried, and handles them in a durable subscription; what fails is tried
again and ends as a dead letter.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "api")]

from tooloo.bus.v1 import bus_service_pb2 as pb  # noqa: E402 - after the path of the checkout
from tooloo.learning.v1.learning_events_pb2 import TrainingCompleted  # noqa: E402

from bus.local import open_bus  # noqa: E402
from mesh.clock import SystemClock  # noqa: E402
from mesh.ids import new_id  # noqa: E402
from mesh.outbox import Fact, make_event  # noqa: E402


async def main(file: Path) -> None:
    """Publishes, handles, and looks at what could not be handled."""
    async with open_bus(file) as bus:
        facts = [Fact(TrainingCompleted(user_id=user, round_count=3), f"users/{user}") for user in ("ada", "bob", "eve")]
        events = [make_event(fact, "learning", SystemClock(), new_id) for fact in facts]
        print("on disk at", await bus.publish(events), "and again at", await bus.publish(events))

        async with bus.subscription("mailer", ["training.*"], max_in_flight=10) as deliveries:
            left = len(events)
            async for event in deliveries:
                if event.subject == "users/eve":
                    await deliveries.nack(event, park=True, error="eve has no address")
                else:
                    print("handled", event.subject, "from position", event.position)
                left -= 1
                if not left:
                    break

        letters = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="mailer"))
        for letter in letters.dead_letters:
            print("dead letter", letter.event.subject, "because", letter.last_error)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "events.db"))
