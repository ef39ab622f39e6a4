"""`tooloo events replay`: a subscription goes back in the log, and is watched until it has caught up."""

from __future__ import annotations

import time
from typing import Any

import click

from mesh.cli import eventing, requests
from mesh.cli.calling import Caller
from mesh.cli.console import Console
from mesh.cli.dead_letters import SubscriptionName
from mesh.cli.eventing import BUS
from mesh.cli.sharing import Command

_POLL = 0.3


@click.command(cls=Command)
@click.argument("subscription", type=SubscriptionName())
@click.option("--from-beginning", is_flag=True, help="From the oldest event that is kept.")
@eventing.beginnings
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, help="Wait until it has come to where the log ends now.  [default: wait]")
@click.pass_obj
def replay(
    console: Console, subscription: str, start: dict[str, Any] | None, *, from_beginning: bool, yes: bool, wait: bool
) -> None:
    """Gives a subscription its events again, from a place in the log on; asks before it does.

    Its listeners see again what they acknowledged. Services of the mesh skip what they still have noted as handled (the setting
    TOOLOO_INBOX_AGE); others must know events that they have had by their ids.
    """
    if from_beginning == (start is not None):
        raise click.UsageError("Give one of --from-beginning, --from, --after and --since.")
    with Caller(console) as caller:
        known = caller.call(f"{BUS}/GetSubscription", name=subscription).subscription
        if not yes:
            what = (
                f"{subscription} its events again, up to position {known.head_position}; its listeners see what they acknowledged"
            )
            console.confirm(f"Give {what}?", f"this gives {what}")
        moved = _seek(caller, subscription, start or {"beginning": True})
        waits = wait and moved.state != moved.STATE_PAUSED
        if waits:
            catch_up(console, caller, moved)
        elif wait:
            console.say(f"it is paused, and catches up when it is resumed: tooloo bus resume {subscription}")
    told = {"subscription": subscription, "headPosition": moved.head_position, "caughtUp": waits}
    end = f"{'has caught up with' if waits else 'was moved; the log ends at'} position {moved.head_position}"
    console.result(told, f"{subscription} {end}")


def _seek(caller: Caller, subscription: str, start: dict[str, Any]) -> Any:
    rpc = caller.schema.rpcs[f"{BUS}/SeekSubscription"]
    answer: Any = caller.unary(rpc, requests.build(caller.schema, rpc, (), {"name": subscription, "start": start}))
    return answer.subscription


def catch_up(console: Console, caller: Caller, moved: Any) -> None:
    """Waits until all is acknowledged, or dead, up to where the log ended when the subscription was moved."""
    first, total = moved.ack_floor, max(0, moved.head_position - moved.ack_floor)
    with console.progress(f"replaying to {moved.name}", total) as bar:
        while True:
            now = caller.call(f"{BUS}/GetSubscription", name=moved.name).subscription
            done = min(max(0, now.ack_floor - first), total)
            bar.set(done, total, f"replaying to {moved.name}" if now.members else f"nobody pulls {moved.name}", "events")
            if done == total:
                return
            time.sleep(_POLL)
