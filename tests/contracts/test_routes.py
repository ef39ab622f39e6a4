"""Each HTTP rule is one that Envoy's transcoder and grpc-gateway both understand, so that anyone may generate either."""

import re
from collections.abc import Iterator

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mesh import contracts
from mesh.contracts import Method

SEGMENT = r"(?:[a-z0-9]+(?:[-._][a-z0-9]+)*|\{[a-z][a-z0-9_]*\})"
PATH = re.compile(rf"(?:/{SEGMENT})+")
VARIABLE = re.compile(r"\{(\w+)\}")
WITH_SLASHES = re.compile(r"\{(\w+)=\*/\*\*\}")
ROUTED = {name: method for name, method in contracts.methods().items() if method.http}
QUERY_MESSAGES = {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"}
_T = FieldDescriptor
PATH_TYPES = {_T.TYPE_STRING, _T.TYPE_INT32, _T.TYPE_INT64, _T.TYPE_UINT32, _T.TYPE_UINT64, _T.TYPE_BOOL}
# what callers outside have in their code: it may not change
SEED = {
    ("POST", "/api/v1/training/start"): "tooloo.learning.v1.LearningService/StartTraining",
    ("GET", "/api/v1/training/overview"): "tooloo.learning.v1.LearningService/GetTrainingOverview",
    ("POST", "/api/v1/coach/feedback"): "tooloo.learning.v1.LearningService/GiveCoachFeedback",
    ("GET", "/api/v1/providers/status"): "tooloo.provider.v1.ProviderService/GetProviderStatus",
    ("POST", "/api/v1/providers/select"): "tooloo.provider.v1.ProviderService/SelectProvider",
    ("POST", "/api/v1/budget/track"): "tooloo.provider.v1.ProviderService/TrackBudget",
    ("GET", "/api/v1/budget/report"): "tooloo.provider.v1.ProviderService/GetBudgetReport",
    ("POST", "/api/v1/intent/analyze"): "tooloo.orchestration.v1.OrchestrationService/AnalyzeIntent",
    ("POST", "/api/v1/dag/execute"): "tooloo.orchestration.v1.OrchestrationService/ExecuteDag",
    ("POST", "/api/v1/task/schedule"): "tooloo.orchestration.v1.OrchestrationService/ScheduleTask",
    ("GET", "/api/v1/analytics/overview"): "tooloo.analytics.v1.AnalyticsService/GetAnalyticsOverview",
    ("POST", "/api/v1/analytics/log"): "tooloo.analytics.v1.AnalyticsService/LogMetric",
    ("GET", "/api/v1/badges/earned"): "tooloo.analytics.v1.AnalyticsService/ListEarnedBadges",
    ("POST", "/api/v1/oauth/authorize"): "tooloo.integration.v1.IntegrationService/AuthorizeOAuth",
    ("POST", "/api/v1/github/sync"): "tooloo.integration.v1.IntegrationService/SyncGithub",
    ("POST", "/api/v1/slack/notify"): "tooloo.integration.v1.IntegrationService/NotifySlack",
    ("POST", "/api/v1/context/analyze"): "tooloo.context.v1.ContextService/AnalyzeContext",
    ("GET", "/api/v1/context/files"): "tooloo.context.v1.ContextService/ListContextFiles",
    ("GET", "/api/v1/repos/structure"): "tooloo.context.v1.ContextService/GetRepoStructure",
}


# a repeat of these changes nothing more: they name what they make, say how something shall be, or only ask
HARMLESS = {
    *("tooloo.bus.v1.EventBus/Publish", "tooloo.bus.v1.EventBus/CreateSubscription", "tooloo.bus.v1.EventBus/UpdateSubscription"),
    *("tooloo.bus.v1.EventBus/DeleteSubscription", "tooloo.bus.v1.EventBus/SeekSubscription"),
    *("tooloo.bus.v1.EventBus/PauseSubscription", "tooloo.bus.v1.EventBus/ResumeSubscription"),
    *("tooloo.bus.v1.EventBus/RedriveDeadLetters", "tooloo.bus.v1.EventBus/DropDeadLetters"),
    *("tooloo.bus.v1.EventBus/PublishCloudEvents", "tooloo.bus.v1.EventBus/EraseSubject", "tooloo.bus.v1.EventBus/CompactLog"),
    *("tooloo.provider.v1.ProviderService/CheckBudget", "tooloo.provider.v1.BurstService/CheckBurst"),
    # their bodies are other vendors' and have no room for an id, which comes as the header Idempotency-Key
    "tooloo.provider.v1.CompatibilityService/CreateEmbedding",
    *("tooloo.provider.v1.CompatibilityService/CreateChatCompletion", "tooloo.provider.v1.CompatibilityService/CreateMessage"),
    *("tooloo.provider.v1.CompatibilityService/CreateResponse", "tooloo.provider.v1.CompatibilityService/CountMessageTokens"),
}
# a map cannot be said in a query; over REST this filter is simply not to be had, over gRPC it is
NOT_IN_QUERIES = {"tooloo.bus.v1.EventFilter.attributes"}


def descriptor(method: Method) -> Descriptor:
    """The request's descriptor."""
    return contracts.pool().FindMessageTypeByName(method.request.DESCRIPTOR.full_name)


def in_query(message: Descriptor, without: set[str], depth: int = 0) -> Iterator[FieldDescriptor]:
    """The fields that a request without a body must carry in its query."""
    for field in message.fields:
        if field.name in without:
            continue
        nested = field.message_type
        if nested and nested.full_name not in QUERY_MESSAGES and not field.is_repeated and depth < 3:
            yield from in_query(nested, set(), depth + 1)
        else:
            yield field


@pytest.mark.parametrize("method", ROUTED.values(), ids=ROUTED)
def test_a_rule_is_within_what_both_support(method: Method) -> None:
    """One binding, but for variables with slashes; a plain path; scalar variables; a whole body or none; no response_body."""
    service, rpc = method.name.split("/")
    options = contracts.pool().FindServiceByName(service).FindMethodByName(rpc).GetOptions()
    rule = options.Extensions[annotations_pb2.http]
    assert not rule.response_body
    assert rule.WhichOneof("pattern") in {"get", "put", "post", "delete", "patch"}
    path = getattr(rule, rule.WhichOneof("pattern"))
    for other in rule.additional_bindings:
        assert WITH_SLASHES.sub(r"{\1}", getattr(other, rule.WhichOneof("pattern"))) == path
    assert PATH.fullmatch(path), path
    fields = descriptor(method).fields_by_name
    for variable in VARIABLE.findall(path):
        assert fields[variable].type in PATH_TYPES
        assert not fields[variable].is_repeated
    assert rule.body == ("" if rule.WhichOneof("pattern") in {"get", "delete"} else "*")
    assert not method.client_streaming


@pytest.mark.parametrize(
    "method",
    [method for method in ROUTED.values() if method.http and not method.http.body],
    ids=[name for name, method in ROUTED.items() if method.http and not method.http.body],
)
def test_a_request_without_a_body_fits_into_a_query(method: Method) -> None:
    """No map and no list of messages: a query cannot say them."""
    variables = set(VARIABLE.findall(method.http.path)) if method.http else set()
    for field in in_query(descriptor(method), variables):
        nested = field.message_type
        fits = nested is None or (nested.full_name in QUERY_MESSAGES and not field.is_repeated)
        assert fits or field.full_name in NOT_IN_QUERIES, field.full_name


def test_no_two_rules_take_the_same_requests() -> None:
    """Paths that differ only in the names of their variables are the same."""
    shapes = [(method.http.verb, VARIABLE.sub("{}", method.http.path)) for method in ROUTED.values() if method.http]
    assert len(shapes) == len(set(shapes))


def test_the_seed_routes_stand() -> None:
    """Method, path and RPC of every call that existed before."""
    routes = {(method.http.verb, method.http.path): name for name, method in ROUTED.items() if method.http}
    assert {route: routes.get(route) for route in SEED} == SEED


@pytest.mark.parametrize("method", ROUTED.values(), ids=ROUTED)
def test_writes_can_be_repeated(method: Method) -> None:
    """Every write takes a request_id, unless repeating it is harmless by nature."""
    if method.http and method.http.verb != "GET" and method.name not in HARMLESS:
        assert "request_id" in descriptor(method).fields_by_name, method.name
