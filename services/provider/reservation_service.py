"""The calls about reservations: a message in, the flow asked, a message out."""

from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import reservation_service_pb2 as api
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceServicer

from mesh import errors, page
from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_wire, estimate_store, reservation_store, wire
from services.provider import reservation_wire as own_wire
from services.provider.estimating import Learned
from services.provider.fallback import Target
from services.provider.flows import availability, costing, reserving
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.reservation import Denied, Reservation

Context = grpc.aio.ServicerContext[object, object]
_SUCCESS = 1


class ReservationService(ReservationServiceServicer):
    """Answers tooloo.provider.v1.ReservationService."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host = host
        self._known = known

    async def Reserve(self, request: api.ReserveRequest, context: Context) -> api.ReserveResponse:
        """Sets money aside."""
        ask = own_wire.from_reserve(self._known.settings, request)

        async def effect(tx: Transaction) -> api.ReserveResponse:
            await self._price(tx, needed=ask.amount is None)
            made = _made(await reserving.reserve(self._host, tx, self._known, ask))
            return api.ReserveResponse(
                reservation=own_wire.to_reservation(made),
                wait=_some(made.wait),
                budgets=[wire.to_standing(standing) for standing in made.standings],
            )

        if ask.dry_run:
            return await self._host.db.read(effect)
        return await self._host.once(request, api.ReserveResponse, effect, brief=True)

    async def Settle(self, request: api.SettleRequest, context: Context) -> api.SettleResponse:
        """Ends a reservation with what was used."""

        async def effect(tx: Transaction) -> api.SettleResponse:
            await self._price(tx, needed=not request.HasField("cost"))
            found = await self._found(tx, request.reservation_id)
            used = own_wire.from_settle(request, found.labels)
            settled = await reserving.settle(self._host, tx, self._known, request.reservation_id, used)
            labels = used.labels or found.labels
            if request.outcome and not settled.again and labels.provider_id:
                target = Target(labels.provider_id, labels.model)
                outcome = availability_wire.to_outcome(
                    target, used.latency, request.output_tokens, success=request.outcome == _SUCCESS
                )
                await availability.note(self._host, tx, self._known, "", [outcome])
            ended = settled.reservation
            return api.SettleResponse(reservation=own_wire.to_reservation(ended), overrun=wire.to_money(ended.overrun))

        return await self._host.once(request, api.SettleResponse, effect, brief=True)

    async def _price(self, tx: Transaction, *, needed: bool) -> None:
        """Makes what is known of prices current: who changed one a moment ago means it to count."""
        if needed:
            await self._known.look(tx)

    async def _found(self, tx: Transaction, reservation_id: str) -> Reservation:
        found = await reservation_store.get(tx, reservation_id)
        if found is None:
            raise errors.not_found("reservation", reservation_id)
        return found

    async def Release(self, request: api.ReleaseRequest, context: Context) -> api.ReleaseResponse:
        """Ends a reservation of which nothing was used."""

        async def effect(tx: Transaction) -> api.ReleaseResponse:
            released = await reserving.release(self._host, tx, self._known, request.reservation_id)
            return api.ReleaseResponse(reservation=own_wire.to_reservation(released))

        return await self._host.once(request, api.ReleaseResponse, effect, brief=True)

    async def Extend(self, request: api.ExtendRequest, context: Context) -> api.ExtendResponse:
        """More money, more time, or both."""
        amount = wire.from_money(request.amount, "amount") if request.HasField("amount") else 0

        async def effect(tx: Transaction) -> api.ExtendResponse:
            found = await self._found(tx, request.reservation_id)
            more, tokens = amount, request.output_tokens
            if tokens and not request.HasField("amount"):
                await self._price(tx, needed=True)
                more = costing.price_of(self._known, found.labels).cost(0, tokens)
            ttl = own_wire.ttl_of(request)
            extended = await reserving.extend(
                self._host, tx, self._known, request.reservation_id, amount=more, tokens=tokens, ttl=ttl
            )
            return api.ExtendResponse(reservation=own_wire.to_reservation(_made(extended)))

        return await self._host.once(request, api.ExtendResponse, effect, brief=True)

    async def GetReservation(self, request: api.GetReservationRequest, context: Context) -> api.GetReservationResponse:
        """A reservation."""
        found = await self._host.db.read(lambda tx: self._found(tx, request.reservation_id))
        return api.GetReservationResponse(reservation=own_wire.to_reservation(found))

    async def ListReservations(self, request: api.ListReservationsRequest, context: Context) -> api.ListReservationsResponse:
        """Open reservations, the first to expire first."""
        wanted = wire.from_filter(self._known.settings, request.labels)
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        after = (page.whole_of(cursor, "expires"), page.text_of(cursor, "id"))
        found = await self._host.db.read(lambda tx: _open(tx, wanted, after, size + 1))
        token = page.encode_token(_cursor(found[size - 1]), query) if len(found) > size else ""
        shown = [own_wire.to_reservation(reservation) for reservation in found[:size]]
        return api.ListReservationsResponse(reservations=shown, next_page_token=token)

    async def ListEstimates(self, request: api.ListEstimatesRequest, context: Context) -> api.ListEstimatesResponse:
        """What was learned of models' answers."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        cursor = page.decode_token(request.page_token, query)
        after = (page.text_of(cursor, "provider"), page.text_of(cursor, "model"), page.text_of(cursor, "user"))
        tuning = self._known.tuning

        async def read(tx: Transaction) -> api.ListEstimatesResponse:
            rows = await estimate_store.page(tx, request.provider_id, after, size + 1)
            shown = []
            for model, user_id, seen in rows[:size]:
                everybody, _ = (await estimate_store.learned(tx, model, "")) if user_id else (seen, Learned())
                shown.append(own_wire.to_estimate(model, user_id, everybody, seen if user_id else Learned(), tuning))
            token = ""
            if len(rows) > size:
                (provider, model_name), user, _ = rows[size - 1]
                token = page.encode_token({"provider": provider, "model": model_name, "user": user}, query)
            return api.ListEstimatesResponse(estimates=shown, next_page_token=token)

        return await self._host.db.read(read)


async def _open(tx: Transaction, wanted: Labels, after: tuple[int, str], limit: int) -> list[Reservation]:
    """At most `limit` open reservations that have all the labels."""
    found: list[Reservation] = []
    while len(found) < limit:
        batch = await reservation_store.open_ones(tx, after, limit)
        found += [reservation for reservation in batch if wanted.covers(reservation.labels)]
        if len(batch) < limit:
            break
        after = to_us(batch[-1].expires), batch[-1].reservation_id
    return found[:limit]


def _cursor(last: Reservation) -> dict[str, object]:
    return {"expires": to_us(last.expires), "id": last.reservation_id}


def _made(answer: Reservation | Denied) -> Reservation:
    if isinstance(answer, Denied):
        raise reserving.refusal(answer)
    return answer


def _some(wait: timedelta) -> Duration | None:
    return wire.to_duration(wait) if wait else None
