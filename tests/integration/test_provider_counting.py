"""Answers under way are counted as the model's own counts of the answers before had it."""

from pathlib import Path

import pytest
from tooloo.provider.v1.reservation_service_pb2 import ListEstimatesRequest
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from tests.integration.completing_bench import begins, chunk, desk_on, says

WORDS = ["An answer of ", "about a dozen ", "words, as chats ", "often give them."]


async def test_who_hangs_up_pays_by_the_tokens_of_the_answers_before(tmp_path: Path) -> None:
    """What came of an answer costs what the provider charged for the same text before; estimates show by what it was counted."""
    async with desk_on(tmp_path, estimate_prior_calls="0.001") as desk:
        desk.far.script["big"] = [says(WORDS, usage=(6, 14))] * 10
        for _ in range(10):
            await desk.ask()
        reservations = ReservationServiceStub(desk.bench.channel)
        (learned,) = (await reservations.ListEstimates(ListEstimatesRequest())).estimates
        assert learned.characters_per_token == pytest.approx(len("".join(WORDS)) / 14)
        desk.far.script["big"] = [begins(*map(chunk, WORDS))]
        call = desk.streaming()
        began = (await anext(aiter(call))).started
        async for each in call:
            if each.text == WORDS[-1]:
                break
        call.cancel()
        await desk.settled()
        account = (await desk.query(began.query_id)).account
        assert account.usage_estimated
        # rounded up; a guess of 3.5 characters a token makes 17 of it
        assert account.usage.output_tokens in (14, 15)
