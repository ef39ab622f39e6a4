"""Groups of verbs: one for each service of the catalogue, and `call`, which takes any RPC by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import click
from click.shell_completion import CompletionItem

from mesh import prose
from mesh.catalogue import ServiceSpec
from mesh.cli import names
from mesh.cli.grouping import Group, near
from mesh.cli.schema import Rpc, load
from mesh.cli.sharing import Command
from mesh.cli.verbs import VerbCommand, first_sentence


class ServiceGroup(Group):
    """The RPCs of one service of the mesh as verbs."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        super().__init__(spec.name, help=f"Calls of the {spec.title}, made from its contracts.")

    @cached_property
    def verbs(self) -> Mapping[str, Rpc]:
        """Its RPCs by verb."""
        return names.of(list(load().of_service(self.spec)))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the contracts."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, or the one that begins with its words; a usage error where several do."""
        found = names.resolve(cmd_name, self.verbs)
        if len(found) > 1:
            ctx.fail(f"{cmd_name!r} may be {', '.join(found[:-1])} or {found[-1]}.")
        return VerbCommand(found[0], self.verbs[found[0]]) if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with their short forms, under the gRPC service that answers them."""
        for service in self.spec.grpc_services:
            rows = list(self._rows(service))
            with formatter.section(service.rsplit(".", 1)[-1]):
                formatter.write_text(first_sentence(prose.of(service)))
                formatter.write_dl(rows)

    def _rows(self, service: str) -> Iterator[tuple[str, str]]:
        for name, rpc in self.verbs.items():
            if rpc.service == service:
                short = names.short(name, self.verbs)
                # a beginning of several words is taken too, but nobody learns it
                yield f"{name}, {short}" if short and "-" not in short else name, first_sentence(rpc.description)


class CallGroup(Command, click.Group):
    """Any RPC by its full name or by what is enough to tell it apart."""

    @cached_property
    def known(self) -> Mapping[str, Rpc]:
        """Every RPC by full name."""
        return load().rpcs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """None: they are listed by service, and completed by name."""
        return []

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The RPC that the name means; a usage error with suggestions where none or several are meant."""
        found = [rpc for rpc in self.known.values() if _means(cmd_name, rpc)]
        exact = [rpc for rpc in found if cmd_name.replace(".", "/") == rpc.name.replace(".", "/")]
        if len(exact or found) != 1:
            ctx.fail(_unclear(cmd_name, found, self.known))
        return VerbCommand(cmd_name, (exact or found)[0])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Where the names of the RPCs are."""
        with formatter.section("RPCs"):
            formatter.write_text("`tooloo SERVICE --help` lists those of a service; `tooloo call RPC --help` shows its fields.")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of RPCs: short ones, full ones once a package has been begun."""
        full = "." in incomplete or "/" in incomplete
        return [
            CompletionItem(name, help=first_sentence(rpc.description))
            for rpc in self.known.values()
            if (name := rpc.name if full else rpc.method.name).startswith(incomplete)
        ]


def _parts(name: str) -> list[str]:
    return [names.kebab(part) for part in name.replace("/", ".").split(".")]


def _means(given: str, rpc: Rpc) -> bool:
    """True when the last part is the RPC and the others stand, in order, among those of its full name."""
    *before, last = _parts(given)
    *places, name = _parts(rpc.name)
    rest = iter(places)
    return last == name and all(part in rest for part in before)


def _unclear(given: str, found: list[Rpc], known: Mapping[str, Rpc]) -> str:
    if found:
        return f"{given!r} may be {' or '.join(rpc.name for rpc in found)}."
    short = {rpc.method.name.lower(): rpc.method.name for rpc in known.values()}
    meant = near(given.replace("/", ".").rsplit(".", 1)[-1].replace("-", "").lower(), list(short))
    hint = f" Did you mean {' or '.join(short[each] for each in meant)}?" if meant else " `tooloo SERVICE --help` lists them."
    return f"There is no RPC {given!r}.{hint}"
