"""Things for generated calls to meet: without them a random id only ever finds nothing."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from mesh.catalogue import SERVICES
from tests.support.mesh import ROOT, Mesh

# stopping one, or pausing what it hears, would end the test of it
_SERVICES = {spec.name for spec in SERVICES}
# some of each, so that a call that deletes one leaves others
_COPIES = 3
_PATIENCE = 120.0
TREE = ROOT / "mesh"
_DAG = {
    "nodes": [
        {"id": "info", "call": "tooloo.system.v1.SystemService/GetSystemInfo"},
        {"id": "stats", "call": "tooloo.bus.v1.EventBus/GetBusStats", "dependsOn": ["info"]},
    ]
}
Known = dict[str, list[str]]


def furnish(mesh: Mesh) -> Known:
    """Makes some of everything by REST; gives the values by the name of the field that takes them."""
    found: Known = {"userId": ["ada"], "repoId": ["kit"], "domain": ["python"], "focusArea": ["python"]}
    found |= {"path": [str(TREE), "db.py"], "name": ["fuzz.metric"]}
    with httpx.Client(base_url=mesh.url, timeout=30) as client:
        _post(client, "/api/v1/context/analyze", {"path": str(TREE), "repoId": "kit"})
        for number in range(_COPIES):
            for path, body in _calls(number).items():
                _note(found, _post(client, path, body))
    found["subscription"] = [name for name in found["name"] if name.startswith("fuzz-")]
    return found


def _post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> Any:
    end = time.monotonic() + _PATIENCE
    # in a fresh clone on a busy machine the intent classifier is still being trained
    while (answer := client.post(path, json=body)).status_code == httpx.codes.SERVICE_UNAVAILABLE and time.monotonic() < end:
        time.sleep(0.1)
    if answer.is_error:
        raise RuntimeError(f"{path} refused what the tests need: {answer.text}")
    return answer.json()


def _calls(number: int) -> dict[str, dict[str, Any]]:
    name = f"fuzz-{number}"
    limit = {"currencyCode": "USD", "units": "5"}
    return {
        "/api/v1/training/start": {"userId": "ada", "focusArea": "python", "roundCount": 50},
        "/api/v1/providers/select": {"query": "hello", "focusArea": "python"},
        "/api/v1/budget/set": {"budget": {"budgetId": name, "limit": limit}},
        "/api/v1/dag/execute": {"dag": _DAG, "wait": "10s"},
        "/api/v1/workflows": {"workflowId": name, "dag": _DAG},
        "/api/v1/task/schedule": {"name": name, "dag": _DAG, "schedule": {"every": "3600s"}},
        "/api/v1/analytics/log": {"name": "fuzz.metric", "value": number},
        "/api/v1/intent/analyze": {"userId": "ada", "text": "start a python training"},
        "/api/v1/subscriptions": {"subscription": {"name": name, "filter": {"types": ["*"]}}},
    }


def _note(found: Known, answer: Any) -> None:
    for name, value in _strings(answer):
        # the ids, and what names a model or a subscription
        if value and value not in _SERVICES and (name.endswith("Id") or name in ("model", "name")):
            known = found.setdefault(name, [])
            if value not in known:
                known.append(value)


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in an answer with the name of its field."""
    children = value.items() if isinstance(value, dict) else (("", each) for each in value) if isinstance(value, list) else ()
    for name, child in children:
        if isinstance(child, str):
            yield name, child
        else:
            yield from _strings(child)
