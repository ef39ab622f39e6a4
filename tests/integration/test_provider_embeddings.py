"""Vectors of texts: in every dialect, split and put together, charged once; which model may make them, and repeats of a request."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.selection_pb2 import Alias, Constraints, SelectionPolicy, Share
from tooloo.provider.v1.selection_service_pb2 import SetAliasRequest, SetSelectionPolicyRequest
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from bench.provider.replicas import replicas
from mesh.ids import new_id
from services.provider import echo
from tests.integration.completing_bench import attempts_of, fails, nanos, refused
from tests.integration.embedding_bench import (
    GECKO,
    NOMIC,
    OTHER,
    PER_TEXT,
    SIZE,
    VEC,
    Makers,
    Shelf,
    held,
    makes,
    settings_of,
    shelf_on,
    vector_of,
    vectors_of,
    waits,
)
from tests.integration.remote_bench import far_end

State = api.GetQueryResponse
MANY = [f"text number {number}" for number in range(8)]
Ends = tuple[Shelf, Makers]


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    """The running service and its far end."""
    async with shelf_on(tmp_path) as both:
        yield both


# tokens a text, then what a million cost; Gemini tells no usage: 5 characters are 2 tokens by estimate
@pytest.mark.parametrize(("model", "each", "price"), [(VEC, PER_TEXT, 1.0), (GECKO, 2, 0.5), (NOMIC, PER_TEXT, 3.0)])
async def test_vectors_and_their_account(ends: Ends, model: str, each: int, price: float) -> None:
    """In the order of the texts, as long as asked for; ledger, budget, query and events say what they cost."""
    shelf, makers = ends
    await shelf.limit("1")
    answer = await shelf.embed("hello", "there", model=model, dimensions=6, user_id="ada", labels={"team": "red"})
    assert vectors_of(answer) == [vector_of("hello", 6), vector_of("there", 6)]
    assert (answer.dimensions, answer.notice) == (6, "")
    account, cost = answer.account, round(2 * each * price * 1000)
    assert f"{account.provider_id}/{account.model}" == model
    assert (account.usage.input_tokens, account.usage.output_tokens) == (2 * each, 0)
    assert account.usage_estimated is (model == GECKO)
    assert nanos(account.cost) == nanos((await shelf.standing()).spent) == cost
    assert await shelf.at_rest()
    [started], [completed] = await shelf.told("provider.query.started"), await shelf.told("provider.query.completed")
    assert started.query_id == completed.query_id == account.query_id
    assert (completed.user_id, dict(completed.labels)["team"], nanos(completed.cost)) == ("ada", "red", cost)
    assert (await shelf.query(account.query_id)).state == State.STATE_COMPLETED
    report = await shelf.report(user_id="ada")
    assert nanos(report.total.cost) == cost
    assert len(makers.asked) == 1


async def test_more_texts_than_a_provider_takes(ends: Ends) -> None:
    """Go in as many calls as it needs, come back in order, and are one query with one charge."""
    shelf, makers = ends
    makers.script["acme"] = [makes(), makes(plain=True, backwards=True)]
    answer = await shelf.embed(*MANY)
    assert vectors_of(answer) == [vector_of(text) for text in MANY]
    assert makers.calls == [("acme", MANY[:3]), ("acme", MANY[3:6]), ("acme", MANY[6:])]
    assert answer.account.usage.input_tokens == PER_TEXT * len(MANY)
    assert attempts_of(answer.account) == [(VEC, "")]
    assert await shelf.count("usage") == 1
    assert nanos((await shelf.report()).total.cost) == nanos(answer.account.cost) == PER_TEXT * len(MANY) * 1000


async def test_what_came_is_not_asked_for_again(ends: Ends) -> None:
    """A key that is limited in the middle: the next one goes on where it ended."""
    shelf, makers = ends
    await shelf.add_key("acme", "key-one")
    await shelf.add_key("acme", "key-two")
    makers.script["acme"] = [makes(), fails(429)]
    answer = await shelf.embed(*MANY)
    assert vectors_of(answer) == [vector_of(text) for text in MANY]
    assert [texts for _, texts in makers.calls] == [MANY[:3], MANY[3:6], MANY[3:6], MANY[6:]]
    assert makers.keys[0] == makers.keys[1] != makers.keys[2] == makers.keys[3]
    assert nanos((await shelf.report()).total.cost) == PER_TEXT * len(MANY) * 1000


async def test_another_provider_of_the_same_model_goes_on(ends: Ends) -> None:
    """What the first one made is charged at its price, the rest at the other's, and the account is the sum."""
    shelf, makers = ends
    await shelf.limit("1")
    makers.script["acme"] = [makes(), *[fails(500)] * 9]
    answer = await shelf.embed(*MANY, model="vec")
    assert vectors_of(answer) == [vector_of(text) for text in MANY]
    assert [name for name, _ in makers.calls] == ["acme", "acme", "acme", "brim"]
    assert makers.calls[-1] == ("brim", MANY[3:])
    account, cost = answer.account, (3 * 1000 + 5 * 2000) * PER_TEXT
    assert (account.provider_id, account.usage.input_tokens, nanos(account.cost)) == ("brim", PER_TEXT * len(MANY), cost)
    assert nanos((await shelf.report()).total.cost) == nanos((await shelf.standing()).spent) == cost
    query = (await shelf.query(account.query_id)).account
    assert (nanos(query.cost), query.usage.input_tokens) == (cost, PER_TEXT * len(MANY))
    assert await shelf.at_rest()


async def test_no_other_model_takes_over(ends: Ends) -> None:
    """Not by rank, not by a chain: of its targets only those that are the same model count."""
    shelf, makers = ends
    makers.script["acme"] = [fails(500)] * 9
    await shelf.chain("mine", general=[OTHER, GECKO, "brim/vec"])
    alone = await refused(shelf.embed())
    assert (alone.code, alone.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_FAILED")
    assert {name for name, _ in makers.calls} == {"acme"}
    query_id = (await shelf.query_ids())[0]
    assert attempts_of((await shelf.query(query_id)).account)[0] == (VEC, "SERVER_ERROR")
    answer = await shelf.embed(fallback_chain="mine")
    assert attempts_of(answer.account)[-1] == ("brim/vec", "")
    assert {far.head.split()[1].split("/")[1] for far in makers.asked} == {"acme", "brim"}
    assert await shelf.at_rest()


@pytest.mark.parametrize(
    "vectors", [[], [[1.0, 2.0]], [[1.0], [1.0, 2.0]], [[], []], [[1.0], [float("nan")]], [[1.0], [float("inf")]]]
)
async def test_vectors_that_are_none(ends: Ends, vectors: list[list[float]]) -> None:
    """Too few, of different lengths, empty, not finite: a malformed answer, which is tried again once and costs nothing."""
    shelf, makers = ends
    makers.script["acme"] = [makes(vectors), makes(vectors)]
    failed = await refused(shelf.embed("one", "two"))
    assert (failed.code, failed.metadata["failure"], failed.metadata["attempts"]) == (grpc.StatusCode.UNAVAILABLE, "MALFORMED", "2")
    assert await shelf.count("usage") == 0
    assert await shelf.at_rest()


async def test_a_model_that_cannot_make_fewer_numbers(ends: Ends) -> None:
    """Its vectors are not handed out as what was asked for; the caller hears the name of the field."""
    shelf, makers = ends
    makers.script["oll"] = [makes([[0.5] * SIZE])]
    failed = await refused(shelf.embed(model=NOMIC, dimensions=2))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROVIDER_REFUSED")
    assert "dimensions: 2 are asked for, and this model answers 4" in failed.message
    assert len(makers.asked) == 1


async def test_only_one_model_may_be_named(ends: Ends) -> None:
    """No "auto", no model for conversations, no alias of several models; an alias of one is shared out over who serves it."""
    shelf, makers = ends
    aliases = SelectionServiceStub(shelf.bench.channel)
    both = [Share(provider_id="acme", model="vec", weight=1), Share(provider_id="brim", model="vec", weight=0)]
    await aliases.SetAlias(SetAliasRequest(alias=Alias(alias="one", targets=both)))
    several = [*both, Share(provider_id="gem", model="gecko", weight=1)]
    await aliases.SetAlias(SetAliasRequest(alias=Alias(alias="several", targets=several)))
    auto = await refused(shelf.embed(model="auto"))
    assert (auto.code, auto.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, "model")
    assert VEC in auto.message
    mixed = await refused(shelf.embed(model="several"))
    assert (mixed.code, mixed.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, "model")
    assert "gecko, vec" in mixed.message
    talker = await refused(shelf.embed(model="acme/big"))
    assert (talker.reason, talker.metadata["commonest_exclusion"]) == ("NO_CANDIDATE", "CAPABILITY")
    assert "it makes no embeddings" in talker.message
    assert (await refused(shelf.embed(model="nobody"))).code is grpc.StatusCode.NOT_FOUND
    assert not makers.asked
    makers.script["acme"] = [fails(500)] * 9
    assert attempts_of((await shelf.embed(model="one")).account)[-1] == ("brim/vec", "")


async def test_no_embedding_model_answers_a_conversation(ends: Ends) -> None:
    """By name it is refused with the reason; by rank it is out, with the same reason in the explanation."""
    shelf, _ = ends
    by_name = await refused(shelf.ask(VEC))
    assert (by_name.reason, by_name.metadata["commonest_exclusion"]) == ("NO_CANDIDATE", "CAPABILITY")
    selected = await shelf.provider.SelectProvider(provider_api.SelectProviderRequest(query="hello", dry_run=True))
    assert (selected.provider_id, selected.model) == ("acme", "big")
    why = {f"{each.provider_id}/{each.model}": each.exclusion_detail for each in selected.candidates if each.exclusion}
    assert {why[model] for model in (VEC, OTHER, GECKO, NOMIC)} == {"it makes embeddings and answers no conversation"}


async def test_what_a_policy_demands_holds(ends: Ends) -> None:
    """Its order is for conversations; whom it forbids makes no vectors either, and nor does one whom the request forbids."""
    shelf, makers = ends
    stub = SelectionServiceStub(shelf.bench.channel)
    policy = SelectionPolicy(policy_id="no-acme", constraints=Constraints(forbidden=["acme"]))
    await stub.SetSelectionPolicy(SetSelectionPolicyRequest(policy=policy))
    assert (await shelf.embed(model="vec", policy_id="no-acme")).account.provider_id == "brim"
    assert (await shelf.embed(model="vec", constraints=Constraints(forbidden=["acme"]))).account.provider_id == "brim"
    assert (await shelf.embed(model="vec")).account.provider_id == "acme", "the cheaper one"
    assert [name for name, _ in makers.calls] == ["brim", "brim", "acme"]


async def test_budgets_hold(ends: Ends) -> None:
    """Of calls at the same time as many pass as the budget can pay by estimate; the others are refused and call nobody."""
    shelf, makers = ends
    go = asyncio.Event()
    makers.script["acme"] = [held(go) for _ in range(20)]
    # 7 characters are 2 tokens by estimate: three calls of 2000 nano units fit
    await shelf.limit("0.0000065")
    calls = [asyncio.create_task(shelf.embed("1234567")) for _ in range(8)]
    async with asyncio.timeout(60):
        while sum(call.done() for call in calls) < 5:  # noqa: ASYNC110 - refusals come one by one
            await asyncio.sleep(0.01)
    assert nanos((await shelf.standing()).reserved) == 3 * 2000
    go.set()
    await asyncio.wait(calls)
    errors = [error for call in calls if (error := call.exception()) is not None]
    assert len(errors) == 5
    assert all(isinstance(error, grpc.aio.AioRpcError) for error in errors)
    assert len(makers.asked) == 3
    assert nanos((await shelf.standing()).spent) == 3 * PER_TEXT * 1000


async def test_a_repeat_gives_the_first_vectors(ends: Ends) -> None:
    """By request id, also after a restart; another request under the same id is refused."""
    shelf, makers = ends
    request_id = new_id()
    first = await shelf.embed("hello", "there", request_id=request_id)
    await shelf.restart()
    assert await shelf.embed("hello", "there", request_id=request_id) == first
    assert len(makers.asked) == 1
    for fields in ({"dimensions": 2}, {"model": "vec"}):
        other = await refused(shelf.embed("hello", "there", request_id=request_id, **fields))
        assert other.reason == "REQUEST_ID_REUSED"
    assert (await refused(shelf.ask("acme/big", request_id=request_id))).reason == "REQUEST_ID_REUSED"
    assert await shelf.count("usage") == 1


async def test_a_caller_who_hangs_up(ends: Ends) -> None:
    """In the second of three calls: the first is paid for, the rest given back, the third never made."""
    shelf, makers = ends
    await shelf.limit("1")
    makers.script["acme"] = [makes(), waits]
    call = asyncio.create_task(shelf.embed(*MANY))
    async with asyncio.timeout(60):
        while len(makers.asked) < 2:  # noqa: ASYNC110 - the far end tells of the first one only
            await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait([call])
    await shelf.settled()
    assert len(makers.asked) == 2
    assert nanos((await shelf.standing()).spent) == 3 * PER_TEXT * 1000
    [query_id] = await shelf.query_ids()
    query = await shelf.query(query_id)
    assert (query.state, query.account.usage.input_tokens) == (State.STATE_FAILED, 3 * PER_TEXT)


async def test_a_deadline_holds_for_all_calls_together(ends: Ends) -> None:
    """Not for each of them anew."""
    shelf, makers = ends

    async def slow(far: object) -> None:
        await asyncio.sleep(0.2)
        await makes()(far)  # type: ignore[arg-type] # a request

    makers.script["acme"] = [slow] * 9
    failed = await refused(shelf.embed(*MANY, seconds=0.5))
    assert failed.metadata["failure"] == "TIMEOUT"
    assert len(makers.asked) < 4
    assert await shelf.at_rest()


async def test_an_answer_that_no_message_holds(ends: Ends) -> None:
    """Is refused before anybody is asked, where that can be known; of a model whose size is not, once afterwards."""
    shelf, makers = ends
    large = await refused(shelf.embed(*["x"] * 100, dimensions=65536))
    assert (large.code, large.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_LARGE")
    assert not makers.asked
    makers.script["brim"] = [makes([[0.5] * 8192] * 150)]
    for _ in range(2):
        again = await refused(shelf.embed(*["x"] * 150, model="brim/vec"))
        assert (again.reason, "150 vectors of 8192 numbers" in again.message) == ("TOO_LARGE", True)
    assert len(makers.asked) == 1
    assert len((await shelf.embed("x", model="brim/vec")).embeddings) == 1


async def test_the_stand_in_makes_vectors_and_says_what_they_are(ends: Ends) -> None:
    """Unit vectors, the same for the same text, near for texts that share words; only by its name."""
    shelf, makers = ends
    answer = await shelf.embed("the red house", "the red horse", "quantum flux", "¡", model="local/hashed-words")
    first, near, far, *_ = vectors_of(answer)
    assert answer.notice == echo.VECTORS_NOTICE
    assert all(abs(sum(number**2 for number in vector) - 1) < 1e-5 for vector in vectors_of(answer))
    assert sum(map(float.__mul__, first, near)) > sum(map(float.__mul__, first, far))
    assert vectors_of(await shelf.embed("the red house", model="hashed-words")) == [first]
    assert nanos(answer.account.cost) == 0
    assert not makers.asked


async def test_killed_between_two_calls(tmp_path: Path) -> None:
    """The query is given up when the service is back; a repeat is charged once, as a whole."""
    makers, data, request_id = Makers(), tmp_path / "data", new_id()
    makers.script["acme"] = [makes(), waits]
    request = api.EmbedRequest(texts=MANY, model=VEC, request_id=request_id, timeout=Duration(seconds=60))
    async with far_end(makers.answer) as server, replicas(1, data, settings_of(server.url, tmp_path)) as [process]:
        call = asyncio.ensure_future(CompletionServiceStub(process.channel).Embed(request))
        async with asyncio.timeout(60):
            while len(makers.asked) < 2:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
        await process.kill()
        await asyncio.wait([call])
        await process.start()
        with sqlite3.connect(data / "provider" / "provider.db", timeout=20) as file:
            [(query_id,)] = file.execute("SELECT query_id FROM query").fetchall()
        stub = CompletionServiceStub(process.channel)
        assert (await stub.GetQuery(api.GetQueryRequest(query_id=query_id))).state == State.STATE_EXPIRED
        answer = await stub.Embed(request)
        assert vectors_of(answer) == [vector_of(text) for text in MANY]
        assert await stub.Embed(request) == answer
        with sqlite3.connect(data / "provider" / "provider.db") as file:
            assert file.execute("SELECT COUNT(*), SUM(cost_nanos) FROM usage").fetchall() == [(1, PER_TEXT * len(MANY) * 1000)]
    assert len(makers.asked) == 2 + 3
