"""What schemathesis loads beside the OpenAPI document: checks of ours, values that lead somewhere, and a note of every call."""

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis import Case, CheckContext, HookContext
from schemathesis.core.transport import Response

from mesh.catalogue import SERVICES
from tests.fuzz.refusals import fault_of

# set by the test that starts schemathesis
KNOWN: dict[str, list[str]] = json.loads(os.environ["TOOLOO_FUZZ_KNOWN"])
LOG = Path(os.environ["TOOLOO_FUZZ_LOG"])
AnyCase = Case[Any]
_SERVICES = {spec.name for spec in SERVICES}
# these end what they name; random ids do for them, and the stateful phase makes what it deletes
_ENDING = ("delete",)


@schemathesis.check
def refusal_has_a_reason(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Every refusal is a google.rpc.Status with an ErrorInfo of ours, and nothing of gRPC's shows."""
    fault = fault_of(response.status_code, {name: values[0] for name, values in response.headers.items()}, response.content)
    assert not fault, fault


@schemathesis.hook
def filter_case(context: HookContext, case: AnyCase) -> bool:
    """Leaves out what would stop the services under test: of system calls only those for services that do not exist."""
    return case.path_parameters.get("service") not in _SERVICES


@schemathesis.hook
def map_case(context: HookContext, case: AnyCase) -> AnyCase:
    """Puts known values in half of the places that take one."""
    if case.method.lower() not in _ENDING:
        case.path_parameters = _known(case.path_parameters)
        case.query = _known(case.query)
        case.body = _known(case.body)
    return case


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _one(name, child) for name, child in value.items()}
    return [_known(child) for child in value] if isinstance(value, list) else value


def _one(name: str, value: Any) -> Any:
    """The choice hangs on the value alone, so that a seed always makes the same calls."""
    choice = crc32(repr(value).encode())
    if isinstance(value, str) and name in KNOWN and choice % 2:
        return KNOWN[name][choice // 2 % len(KNOWN[name])]
    return _known(value)


@schemathesis.hook
def after_call(context: HookContext, case: AnyCase, response: Response) -> None:
    """One line for each call."""
    note = {"call": f"{case.method.upper()} {case.path}", "status": response.status_code, "seconds": response.elapsed}
    with LOG.open("a") as log:
        log.write(json.dumps(note) + "\n")
