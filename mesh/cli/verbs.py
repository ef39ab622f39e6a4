"""A command for each RPC: its options are the request's fields, its help is the contract's comments and rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh import prose
from mesh.cli import values
from mesh.cli.console import Console
from mesh.cli.schema import Rpc
from mesh.cli.sharing import Command
from mesh.settings import duration

# nested messages are options with dots, so deep; what lies deeper is given as JSON
_DEPTH = 3
# "e.g. 3" and "i.e. all" end no sentence
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)\.\s+(?=[A-Z])")


class FieldType(click.ParamType[Any]):
    """The values of one field."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.field = field
        self.name = values.kind(field)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What proto3 JSON has for what was typed."""
        if not isinstance(value, str):
            return value
        try:
            return values.parse(self.field, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The choices of an enum, else the kind of value."""
        if self.field.enum_type:
            return f"[{'|'.join(values.choices(self.field.enum_type))}]"
        return self.name.upper()

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The choices of an enum with their meaning."""
        enum = self.field.enum_type
        return (
            []
            if enum is None
            else [
                CompletionItem(short, help=prose.of(f"{enum.full_name}.{name}"))
                for short, name in values.choices(enum).items()
                if short.startswith(incomplete)
            ]
        )


class FieldOption(click.Option):
    """The option of one field; its help is read only when it is shown."""

    def __init__(self, field: FieldDescriptor, path: Sequence[str]) -> None:
        self.field = field
        self.path = tuple(path)
        name = ".".join(path).replace("_", "-")
        is_switch = values.kind(field) == "boolean" and not field.message_type and not field.is_repeated
        super().__init__(
            [f"--{name}/--no-{name}" if is_switch else f"--{name}", "__".join(path)],
            type=None if is_switch else FieldType(field),
            multiple=field.is_repeated,
            default=None,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The field's comment, then whether it must be given and what its rules are."""
        from mesh.ruling import sayings  # noqa: PLC0415 - a call needs no help

        said = sayings(self.field)
        self.help = " ".join(prose.of(self.field.full_name).split()) + "".join(f"  [{each}]" for each in said)
        return super().get_help_record(ctx)


def options(message: Descriptor, path: tuple[str, ...] = (), above: tuple[str, ...] = ()) -> Iterator[FieldOption]:
    """An option for every field, those of nested messages with dots; a message inside itself is given as JSON."""
    for field in message.fields:
        here = (*path, field.name)
        yield FieldOption(field, here)
        if values.is_nested(field) and len(here) < _DEPTH:
            nested = values.message_of(field)
            if nested.full_name not in above:
                yield from options(nested, here, (*above, message.full_name, nested.full_name))


def collect(params: Sequence[FieldOption], given: dict[str, Any]) -> dict[str, Any]:
    """The request as JSON out of the options' values."""
    request: dict[str, Any] = {}
    for option in params:
        value = given.get(option.name or "")
        if value is None or value == ():
            continue
        place = request
        for name in option.path[:-1]:
            place = place.setdefault(name, {})
        _put(place, option.field, value)
    return request


def _put(place: dict[str, Any], field: FieldDescriptor, value: Any) -> None:
    if values.is_map(field):
        place[field.name] = {key: each for pair in value for key, each in pair.items()}
    elif field.is_repeated:
        place[field.name] = list(value)
    elif isinstance(value, dict):
        # fields of a nested message may be given beside it
        place[field.name] = {**value, **place.get(field.name, {})}
    else:
        place[field.name] = value


class VerbCommand(Command):
    """The command of one RPC: options for its fields, or the request in the words after them."""

    def __init__(self, name: str, rpc: Rpc) -> None:
        self.rpc = rpc
        self.fields = list(options(rpc.request))
        words = WordsArgument(rpc)
        timeout = click.Option(
            ["--timeout", "_timeout"], type=Seconds(), help="Longest wait for the end of the call, e.g. 90s or 5m."
        )
        taken = {name for option in self.fields for name in option.opts}
        super().__init__(name, params=[*self.fields, words, *([] if taken & set(timeout.opts) else [timeout])])

    @property
    def help(self) -> str:  # read only when it is shown
        """The RPC's comment and its full name; a form feed would end what help shows, so there is none."""
        rpc = self.rpc
        kind = "Streams answers. " if rpc.method.server_streaming else ""
        taken = "Takes a stream: a line of JSON for each request on stdin (-). " if rpc.method.client_streaming else ""
        return f"{rpc.description}\n\n{kind}{taken}Calls {rpc.name}."

    @help.setter
    def help(self, value: object) -> None:
        """Click sets what it was given; the contract knows better."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence of the RPC's comment."""
        return first_sentence(self.rpc.description)

    def invoke(self, ctx: click.Context) -> None:
        """Makes the call and prints what comes."""
        from mesh.cli import invoking  # noqa: PLC0415 - what help needs not is not loaded

        given = dict(ctx.params)
        words, timeout = given.pop("_words"), given.pop("_timeout", None)
        invoking.run(ctx.ensure_object(Console), self.rpc, words, collect(self.fields, given), timeout)


class Seconds(click.ParamType[Any]):
    """A length of time as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Seconds of "90s", "5m"."""
        try:
            return duration(value).total_seconds() if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class WordsArgument(click.Argument):
    """The request as words: field=value, JSON, @file or - for stdin."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        places = "".join(f"[{name.upper()}] " for name in rpc.places)
        super().__init__(["_words"], nargs=-1, metavar=f"{places}[FIELD=VALUE | JSON | @FILE | -]...")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names of the request's fields; behind a name the choices of an enum, or true and false."""
        known = {field.name: field for field in self.rpc.request.fields}
        name, sign, begun = incomplete.partition("=")
        if sign and name in known:
            return [CompletionItem(f"{name}={each}") for each in _choices(known[name]) if each.startswith(begun)]
        # bash breaks a word at "=", so there the name is a word of its own
        before = [word for word in ctx.params.get(self.name or "") or () if word != "="]
        if before and before[-1] in known:
            return [CompletionItem(each) for each in _choices(known[before[-1]]) if each.startswith(incomplete)]
        return [
            CompletionItem(f"{field.name}=", help=first_sentence(prose.of(field.full_name)))
            for field in known.values()
            if field.name.startswith(incomplete)
        ]


def _choices(field: FieldDescriptor) -> list[str]:
    if field.enum_type:
        return list(values.choices(field.enum_type))
    return ["true", "false"] if values.kind(field) == "boolean" else []


def first_sentence(text: str) -> str:
    """The first sentence of a comment, on one line."""
    return _SENTENCE_END.split(" ".join(text.split()), maxsplit=1)[0].removesuffix(".") + "." if text else ""
