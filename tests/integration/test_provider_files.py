"""Files in conversations, through the compatible doors: what they cost, and what comes of them to the model and back."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.type.money_pb2 import Money
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from tests.integration.calling_bench import Calling, door_before
from tests.integration.completing_bench import FarEnd, chunk, says, sends
from tests.integration.remote_bench import far_end
from tests.integration.test_provider_doors import openai_client

GPT = "openai/gpt-5-mini"
# some forty pages
PDF = "data:application/pdf;base64," + base64.b64encode(bytes(range(256)) * 12_000).decode()
PAGES: list[Any] = [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]}]


@pytest.fixture
async def far() -> AsyncIterator[FarEnd]:
    """The far end of all providers."""
    found = FarEnd()
    async with far_end(found.answer) as server:
        found.url = server.url
        yield found


@pytest.fixture
async def calling(far: FarEnd, tmp_path: Path) -> AsyncIterator[Calling]:
    """The door before it."""
    async with door_before(far.url, tmp_path) as running:
        yield running


async def test_a_file_costs_what_its_pages_cost(far: FarEnd, calling: Calling) -> None:
    """Its base64 is no text: a budget that holds the call ten times lets it through, and who counts nothing costs about as much."""
    provider = ProviderServiceStub(calling.service.channel)
    # forty pages of three thousand tokens are 3 cents; as text it would be 29
    limit = Money(currency_code="USD", nanos=200_000_000)
    await provider.SetBudget(api.SetBudgetRequest(budget=Budget(budget_id="b", limit=limit, mode=Budget.MODE_DENY)))
    far.script["gpt-5-mini"] = [says(usage=(90_000, 7)), says(usage=None), sends(chunk("Hel"), ends=False)]
    async with openai_client(calling) as client:
        told = await client.chat.completions.with_raw_response.create(model=GPT, messages=PAGES)
        guessed = await client.chat.completions.with_raw_response.create(model=GPT, messages=PAGES)
        stream = await client.chat.completions.create(model=GPT, messages=PAGES, stream=True)
        with pytest.raises(Exception, match="stream"):
            async for _ in stream:
                pass
    costs = [float(each.headers["x-tooloo-cost"]) for each in (told, guessed)]
    spent = (await provider.GetBudget(api.GetBudgetRequest(budget_id="b"))).standing.spent
    costs.append(spent.units + spent.nanos / 1e9 - sum(costs))
    assert costs == pytest.approx([costs[0]] * 3, rel=0.5)
