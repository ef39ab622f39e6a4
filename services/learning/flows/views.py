"""The reads that look ahead or over all learners: forecast of the workload, forgetting curve of a card, who trains here."""

import asyncio
from datetime import datetime

from tooloo.learning.v1.learning_service_pb2 import (
    ForecastWorkloadRequest,
    ForecastWorkloadResponse,
    GetForgettingCurveRequest,
    GetForgettingCurveResponse,
    ListLearnersRequest,
    ListLearnersResponse,
)

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.learning import wire
from services.learning.curve import curve, default_end, replay
from services.learning.flows.cursors import MAX_INT64, number_in, text_in
from services.learning.forecast import forecast
from services.learning.memory import MemoryModel
from services.learning.settings import LearningSettings
from services.learning.store import cards, rounds, standings
from services.learning.store.cards import Card
from services.learning.zones import UnknownTimeZoneError, zone_of

DAYS = 30


class Views:
    """Shows what is to come, and of whom."""

    def __init__(self, host: Host, settings: LearningSettings) -> None:
        self._host = host
        self._settings = settings
        self._model = MemoryModel(settings.desired_retention)

    async def forecast(self, request: ForecastWorkloadRequest) -> ForecastWorkloadResponse:
        """Reviews to expect on each of the next days."""
        zone_name = request.time_zone or self._settings.time_zone
        try:
            zone = zone_of(zone_name)
        except UnknownTimeZoneError as error:
            raise errors.invalid("time_zone", str(error)) from error
        limit = self._settings.forecast_cards
        held, total = await self._host.db.read(lambda tx: cards.by_due(tx, request.user_id, request.domain, limit))
        now, days = self._host.clock.now(), request.days or DAYS
        # a thread, because many cards over many days take a while
        found = await asyncio.to_thread(forecast, [card.memory for card in held], self._model, now, days, zone)
        return ForecastWorkloadResponse(
            days=map(wire.day_message, found), cards=len(held), cards_left_out=total - len(held), time_zone=zone_name
        )

    async def curve(self, request: GetForgettingCurveRequest) -> GetForgettingCurveResponse:
        """The curve of one card of the user; NOT_FOUND otherwise."""
        card, log = await self._host.db.read(lambda tx: _card_and_log(tx, request))
        now = self._host.clock.now()
        # all of them, because each state comes from the one before; in a thread, because many take a while
        reviews = (await asyncio.to_thread(replay, log, self._model))[-self._settings.curve_reviews :]
        end = now + request.ahead.ToTimedelta() if request.HasField("ahead") else default_end(card.memory, now)
        return GetForgettingCurveResponse(
            card=wire.card_message(card, now),
            reviews=map(wire.review_message, reviews),
            points=map(wire.point_message, curve(reviews, card.memory, end)),
            desired_retention=self._settings.desired_retention,
            time=wire.timestamp(now),
        )

    async def learners(self, tx: Transaction, request: ListLearnersRequest) -> ListLearnersResponse:
        """A page of everybody who trains here."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        cursor = page.decode_token(request.page_token, query)
        before_us = number_in(cursor, "update", MAX_INT64)
        place = standings.Place(number_in(cursor, "until", before_us), before_us, text_in(cursor, "user"))
        found = await standings.students_page(tx, place, size + 1)
        response = ListLearnersResponse()
        for user_id, updated, _ in found[:size]:
            held, reviews = await cards.count_cards(tx, user_id)
            response.learners.add(user_id=user_id, cards=held, reviews=reviews, last_review_time=wire.timestamp(updated))
        if len(found) > size:
            user_id, _, then_us = found[size - 1]
            until_us = place.until_us if request.page_token else found[0][2]
            response.next_page_token = page.encode_token({"until": until_us, "update": then_us, "user": user_id}, query)
        return response


async def _card_and_log(tx: Transaction, request: GetForgettingCurveRequest) -> tuple[Card, list[tuple[datetime, float]]]:
    card = await cards.find_card(tx, request.user_id, request.card_id)
    if card is None:
        raise errors.not_found("card", request.card_id)
    return card, await rounds.log_of_card(tx, request.user_id, request.card_id)
