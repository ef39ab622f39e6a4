"""The calls about burst policies: a message in, the rules and the store asked, a message out."""

import grpc
from msgspec.structs import replace
from tooloo.provider.v1 import burst_service_pb2 as api
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceServicer

from mesh import errors, page
from mesh.db import Transaction
from mesh.host import Host
from services.provider import budget_store, burst_store, burst_wire, wire
from services.provider.burst import Load, Verdict, credit, wait_of
from services.provider.flows import bursting
from services.provider.flows.known import Known

Context = grpc.aio.ServicerContext[object, object]


class BurstService(BurstServiceServicer):
    """Answers tooloo.provider.v1.BurstService."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host = host
        self._known = known

    async def SetBurstPolicy(self, request: api.SetBurstPolicyRequest, context: Context) -> api.SetBurstPolicyResponse:
        """Makes or replaces a policy."""
        policy_id = request.policy.policy_id or self._host.ids()
        wanted = burst_wire.from_policy(self._known.settings, request.policy, policy_id, self._host.clock.now())

        async def effect(tx: Transaction) -> api.SetBurstPolicyResponse:
            before = await burst_store.get_policy(tx, policy_id)
            most = self._known.settings.max_burst_policies
            if before is None and await burst_store.count_policies(tx) >= most:
                raise errors.exhausted(
                    "max_burst_policies", f"there may be {most} policies; delete one or raise max_burst_policies"
                )
            policy = replace(wanted, created=before.created) if before else wanted
            if before is not None:
                await bursting.carry_over(tx, before, policy, self._host.clock.now())
            await burst_store.put_policy(tx, policy)
            await budget_store.put_revision(tx, self._host.ids())
            return api.SetBurstPolicyResponse(policy=burst_wire.to_policy(policy))

        return await self._host.once(request, api.SetBurstPolicyResponse, effect)

    async def GetBurstPolicy(self, request: api.GetBurstPolicyRequest, context: Context) -> api.GetBurstPolicyResponse:
        """A policy."""
        policy = await self._host.db.read(lambda tx: burst_store.get_policy(tx, request.policy_id))
        if policy is None:
            raise errors.not_found("burst policy", request.policy_id)
        return api.GetBurstPolicyResponse(policy=burst_wire.to_policy(policy))

    async def ListBurstPolicies(self, request: api.ListBurstPoliciesRequest, context: Context) -> api.ListBurstPoliciesResponse:
        """Policies by id."""
        size, query = page.size_of(request.page_size), page.fingerprint(request)
        after = page.text_of(page.decode_token(request.page_token, query), "id")
        found = await self._host.db.read(lambda tx: burst_store.list_policies(tx, after, size + 1))
        token = page.encode_token({"id": found[size - 1].policy_id}, query) if len(found) > size else ""
        return api.ListBurstPoliciesResponse(policies=map(burst_wire.to_policy, found[:size]), next_page_token=token)

    async def DeleteBurstPolicy(self, request: api.DeleteBurstPolicyRequest, context: Context) -> api.DeleteBurstPolicyResponse:
        """Deletes a policy and what was used of it."""

        async def effect(tx: Transaction) -> api.DeleteBurstPolicyResponse:
            if not await burst_store.delete_policy(tx, request.policy_id):
                raise errors.not_found("burst policy", request.policy_id)
            await budget_store.put_revision(tx, self._host.ids())
            return api.DeleteBurstPolicyResponse()

        return await self._host.once(request, api.DeleteBurstPolicyResponse, effect)

    async def CheckBurst(self, request: api.CheckBurstRequest, context: Context) -> api.CheckBurstResponse:
        """Whether a call would be let through now."""
        labels = wire.from_labels(self._known.settings, request.labels)
        load, now = Load(1, request.tokens, request.cost_nanos), self._host.clock.now()

        async def read(tx: Transaction) -> list[tuple[Verdict, int]]:
            said = await bursting.verdicts(tx, self._known, labels, load, now)
            tats = [await bursting.tat_of(tx, verdict.policy, verdict.key, bursting.now_ns(now)) for verdict in said]
            return [(verdict, credit(verdict.policy, tat, bursting.now_ns(now))) for verdict, tat in zip(said, tats, strict=True)]

        said = await self._host.db.read(read)
        allowed = all(verdict.passes(None) for verdict, _ in said)
        wait = wait_of([verdict for verdict, _ in said])
        return api.CheckBurstResponse(
            allowed=allowed,
            wait=wire.to_duration(wait) if allowed and wait else None,
            policies=[burst_wire.to_standing(verdict, left) for verdict, left in said],
        )
