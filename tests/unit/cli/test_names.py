"""Verbs: every RPC of the contracts has exactly one, and its short forms mean nothing else."""

import pytest

from mesh import contracts
from mesh.catalogue import SERVICES, ServiceSpec
from mesh.cli import names, schema
from mesh.cli.groups import CallGroup, ServiceGroup

SCHEMA = schema.load()


@pytest.mark.parametrize(
    ("rpc", "verb"),
    [
        ("SelectProvider", "select-provider"),
        ("GetBudgetReportCsv", "get-budget-report-csv"),
        ("AuthorizeOAuth", "authorize-oauth"),
        ("ListOAuthProviders", "list-oauth-providers"),
        ("GetHTTPRule", "get-http-rule"),
        ("Complete", "complete"),
    ],
)
def test_kebab(rpc: str, verb: str) -> None:
    """Words are told apart by capitals; a run of capitals is one word."""
    assert names.kebab(rpc) == verb


def test_every_rpc_has_exactly_one_verb() -> None:
    """Over all groups the verbs are the RPCs of the descriptor set, no more and no fewer."""
    verbs = [rpc.name for spec in SERVICES for rpc in ServiceGroup(spec).verbs.values()]
    assert sorted(verbs) == sorted(contracts.methods())


@pytest.mark.parametrize("spec", SERVICES, ids=lambda spec: spec.name)
def test_short_forms_mean_one_verb(spec: ServiceSpec) -> None:
    """A short form is no verb's whole name and the beginning of one verb alone."""
    verbs = ServiceGroup(spec).verbs
    for name in verbs:
        short = names.short(name, verbs)
        assert names.resolve(name, verbs) == [name]
        if short:
            assert short not in verbs
            assert names.resolve(short, verbs) == [name]


def test_rpcs_of_one_name_are_told_apart_by_their_service() -> None:
    """Two gRPC services of one group may have an RPC of the same name."""
    rpc = SCHEMA.rpcs["tooloo.provider.v1.ReservationService/Reserve"]
    other = SCHEMA.rpcs["tooloo.provider.v1.BurstService/CheckBurst"]
    assert list(names.of([rpc, other])) == ["reserve", "check-burst"]
    assert list(names.of([rpc, rpc])) == ["reservation-reserve"]


def test_call_knows_every_rpc_by_its_full_name() -> None:
    """With a slash, with a dot, and by service and RPC."""
    import click  # noqa: PLC0415 - only this test needs a context

    group = CallGroup("call")
    context = click.Context(group)
    for name, rpc in SCHEMA.rpcs.items():
        short = f"{rpc.service.rsplit('.', 1)[-1]}.{rpc.method.name}"
        for spelling in (name, name.replace("/", "."), short):
            found = group.get_command(context, spelling)
            assert found is not None
            assert found.rpc.name == name  # type: ignore[attr-defined] # a VerbCommand
