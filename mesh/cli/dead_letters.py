"""`tooloo events dead`: what subscriptions could not handle; shown, given out again, dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from mesh.cli import printing
from mesh.cli.calling import Caller
from mesh.cli.console import Cell, Console, Failure
from mesh.cli.eventing import BUS
from mesh.cli.grouping import Group

_PAGE = 1000
# a completion that keeps people waiting is worse than none
_COMPLETION_SECONDS = 0.5


class SubscriptionName(click.ParamType[str]):
    """The name of a subscription of the running mesh."""

    name = "subscription"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Its subscriptions, when it answers fast."""
        try:
            with Caller(ctx.find_object(Console) or Console(), _COMPLETION_SECONDS) as caller:
                found = caller.call(f"{BUS}/ListSubscriptions", page_size=_PAGE).subscriptions
        except Failure:
            return []
        return [CompletionItem(each.name, help=f"backlog {each.backlog}") for each in found if each.name.startswith(incomplete)]


@click.group(cls=Group)
def dead() -> None:
    """Dead letters: events that a subscription could not handle."""


@dead.command(name="list")
@click.argument("subscription", required=False, type=SubscriptionName())
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.pass_obj
def list_(console: Console, subscription: str | None, limit: int) -> None:
    """Lists dead letters, oldest first: those of one subscription, or of all."""
    columns = ("subscription", "position", "type", "subject", "reason", "attempts", "since", "last_error")
    with Caller(console) as caller:
        names = [subscription] if subscription else list(_with_dead_letters(caller))
        letters = [letter for name in names for letter in _letters(caller, name, limit)]
    if letters or console.json:
        console.table(columns, [_row(letter) for letter in letters[:limit]])
    else:
        console.say("no dead letters")


def _with_dead_letters(caller: Caller) -> Iterator[str]:
    found = caller.call(f"{BUS}/ListSubscriptions", page_size=_PAGE).subscriptions
    return (each.name for each in found if each.dead_letters)


def _letters(caller: Caller, subscription: str, limit: int) -> Any:
    return caller.call(f"{BUS}/ListDeadLetters", subscription=subscription, page_size=min(limit, _PAGE)).dead_letters


def _row(letter: Any) -> list[object]:
    since = letter.create_time.ToJsonString()
    error = Cell(letter.last_error, letter.last_error.partition("\n")[0])
    return [
        *(letter.subscription, letter.position, letter.event.type, letter.event.subject),
        *(letter.reason, letter.attempts, Cell(since, f"{since[:19]}Z"), error),
    ]


@dead.command()
@click.argument("subscription", type=SubscriptionName())
@click.argument("position", type=click.IntRange(min=1))
@click.pass_obj
def show(console: Console, subscription: str, position: int) -> None:
    """Shows one dead letter with its event and the last error."""
    with Caller(console) as caller:
        answer = caller.call(f"{BUS}/GetDeadLetter", subscription=subscription, position=position)
        printing.show(console, caller.schema, answer)


@dead.command()
@click.argument("subscription", type=SubscriptionName())
@click.argument("positions", nargs=-1, type=click.IntRange(min=1))
@click.option("--all", "every", is_flag=True, help="All of the subscription's dead letters.")
@click.pass_obj
def redrive(console: Console, subscription: str, positions: tuple[int, ...], *, every: bool) -> None:
    """Gives dead letters out again, each exactly once, with fresh attempts."""
    _one_way(positions, every=every)
    with Caller(console) as caller:
        answer = caller.call(f"{BUS}/RedriveDeadLetters", subscription=subscription, positions=positions, all=every)
        console.result(printing.as_json(caller.schema, answer), f"{answer.redriven} given out again")


@dead.command()
@click.argument("subscription", type=SubscriptionName())
@click.argument("positions", nargs=-1, type=click.IntRange(min=1))
@click.option("--all", "every", is_flag=True, help="All of the subscription's dead letters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(console: Console, subscription: str, positions: tuple[int, ...], *, every: bool, yes: bool) -> None:
    """Drops dead letters for good; asks before it drops all of them."""
    _one_way(positions, every=every)
    if every and not yes:
        what = f"every dead letter of {subscription} for good"
        console.confirm(f"Drop {what}?", f"this drops {what}")
    with Caller(console) as caller:
        answer = caller.call(f"{BUS}/DropDeadLetters", subscription=subscription, positions=positions, all=every)
        console.result(printing.as_json(caller.schema, answer), f"{answer.dropped} dropped")


def _one_way(positions: tuple[int, ...], *, every: bool) -> None:
    if bool(positions) == every:
        raise click.UsageError("Give positions, or --all.")
