"""The reads of training, each on one snapshot: overview, session, due cards, mastery."""

from datetime import datetime, timedelta

from tooloo.learning.v1.learning_service_pb2 import (
    GetSessionRequest,
    GetSessionResponse,
    GetTrainingOverviewRequest,
    GetTrainingOverviewResponse,
    ListDueCardsRequest,
    ListDueCardsResponse,
    ListMasteryRequest,
    ListMasteryResponse,
)
from tooloo.learning.v1.mastery_pb2 import DomainMastery

from mesh import errors, page
from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.learning import streak, wire
from services.learning.curriculum import Curriculum
from services.learning.flows import learners
from services.learning.flows.cursors import number_in, text_in
from services.learning.settings import LearningSettings
from services.learning.store import cards, providers, rounds, sessions, standings
from services.learning.training import SessionState
from services.learning.zones import UnknownTimeZoneError, zone_of

WEEK = timedelta(days=7)


class Reader:
    """Shows where learners stand."""

    def __init__(self, host: Host, settings: LearningSettings, curriculum: Curriculum) -> None:
        self._host = host
        self._settings = settings
        self._curriculum = curriculum

    async def overview(self, tx: Transaction, request: GetTrainingOverviewRequest) -> GetTrainingOverviewResponse:
        """Everything at a glance; an empty one for a user without training."""
        now, user_id, items = self._host.clock.now(), request.user_id, self._settings.overview_items
        counts = await sessions.count_sessions(tx, user_id)
        zone_name = request.time_zone or self._settings.time_zone
        response = GetTrainingOverviewResponse(
            user_id=user_id,
            mastery_by_domain=await self._domains(tx, user_id, now),
            workload=wire.workload_message(await cards.workload(tx, user_id, now, now + WEEK)),
            streak=wire.streak_message(await self._streak(tx, user_id, zone_name, now)),
            rounds_completed=await rounds.count_closed(tx, user_id),
            time_zone=zone_name,
            time=wire.timestamp(now),
        )
        response.sessions.open = counts.get(SessionState.OPEN, 0)
        response.sessions.completed = counts.get(SessionState.COMPLETED, 0)
        response.open_sessions.extend(
            map(wire.session_message, await sessions.newest_sessions(tx, user_id, SessionState.OPEN, items))
        )
        response.recent_sessions.extend(
            map(wire.session_message, await sessions.newest_sessions(tx, user_id, SessionState.COMPLETED, items))
        )
        response.recent_rounds.extend(map(wire.round_message, await rounds.newest_closed(tx, user_id, items)))
        uses = await providers.uses(tx, user_id, self._settings.overview_domains)
        response.providers_by_domain.extend(map(wire.provider_message, uses))
        return response

    async def _domains(self, tx: Transaction, user_id: str, now: datetime) -> list[DomainMastery]:
        names = await standings.domains_of(tx, user_id, self._settings.overview_domains)
        return [await self._domain(tx, user_id, name, now) for name in names]

    async def _domain(self, tx: Transaction, user_id: str, name: str, now: datetime) -> DomainMastery:
        domain = self._curriculum.domain(name, name)
        learner, practised = await learners.load(tx, user_id, name, now)
        return DomainMastery(
            domain=name,
            title=domain.title,
            mastery=wire.mastery_message(learner.domain_level(domain)),
            reviews=sum(skill.reviews for skill in practised.values()),
            skills_practised=len(practised),
            skills_total=len({skill.id for skill in domain.skills} | set(practised)),
        )

    async def _streak(self, tx: Transaction, user_id: str, zone_name: str, now: datetime) -> streak.Streak:
        try:
            zone = zone_of(zone_name)
        except UnknownTimeZoneError as error:
            raise errors.invalid("time_zone", str(error)) from error
        days = await rounds.active_days(tx, user_id, now - self._settings.streak_window, zone)
        return streak.streak(days, now.astimezone(zone).date())

    async def session(self, tx: Transaction, request: GetSessionRequest) -> GetSessionResponse:
        """A session of the user with its rounds; NOT_FOUND otherwise."""
        found = await sessions.find_session(tx, request.user_id, request.session_id)
        if found is None:
            raise errors.not_found("session", request.session_id)
        held = await rounds.rounds_of_session(tx, found.id)
        return GetSessionResponse(session=wire.session_message(found), rounds=map(wire.round_message, held))

    async def due_cards(self, tx: Transaction, request: ListDueCardsRequest) -> ListDueCardsResponse:
        """A page of due cards; the pages of one listing share the moment of its first."""
        query = page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        now, size = self._host.clock.now(), page.size_of(request.page_size)
        until_us = number_in(cursor, "until", to_us(now + request.within.ToTimedelta()))
        after = number_in(cursor, "due", -1), text_in(cursor, "card")
        found = await cards.due_cards(tx, request.user_id, request.domain, until_us, after, size + 1)
        response = ListDueCardsResponse(cards=[wire.card_message(card, now) for card in found[:size]])
        if len(found) > size:
            last = found[size - 1]
            place = {"until": until_us, "due": to_us(last.memory.due), "card": last.exercise.id}
            response.next_page_token = page.encode_token(place, query)
        return response

    async def mastery(self, tx: Transaction, request: ListMasteryRequest) -> ListMasteryResponse:
        """A page of practised skills."""
        query = page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        size = page.size_of(request.page_size)
        after = text_in(cursor, "domain"), text_in(cursor, "skill")
        found = await standings.practised_page(tx, request.user_id, request.domain, request.skill, after, size + 1)
        response = ListMasteryResponse()
        for name in dict.fromkeys(practised.domain for practised in found[:size]):
            learner, _ = await learners.load(tx, request.user_id, name, self._host.clock.now())
            domain = self._curriculum.domain(name, name)
            response.skills.extend(
                wire.skill_message(practised, domain.skill_title(practised.skill), learner)
                for practised in found[:size]
                if practised.domain == name
            )
        if len(found) > size:
            place = {"domain": found[size - 1].domain, "skill": found[size - 1].skill}
            response.next_page_token = page.encode_token(place, query)
        return response
