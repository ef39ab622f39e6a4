"""A Completer for the tests of the doors alone: the named model, its first key, one attempt; no selection, fallback or budget."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tooloo.provider.v1.availability_service_pb2_grpc import add_AvailabilityServiceServicer_to_server
from tooloo.provider.v1.compatibility_service_pb2_grpc import add_CompatibilityServiceServicer_to_server
from tooloo.provider.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host, Parts
from services.provider.assembling import Assembler
from services.provider.availability_service import AvailabilityService
from services.provider.chat import Answer, Deltas, Usage
from services.provider.compatibility_service import CompatibilityService
from services.provider.completing_port import Ask, Completed, Started
from services.provider.flows import known
from services.provider.flows.keyring import Keyring
from services.provider.flows.known import Known
from services.provider.flows.room import Room
from services.provider.registry import Model, Registry
from services.provider.registry_service import RegistryService
from services.provider.remote.calling import Remote
from services.provider.settings import ProviderSettings
from services.provider.target import Target


class Straight:
    """A Completer without selection, fallback or budgets."""

    def __init__(self, host: Host, known: Known, keyring: Keyring, remote: Remote) -> None:
        self._host = host
        self._known = known
        self._keyring = keyring
        self._remote = remote

    async def complete(self, ask: Ask) -> Completed:
        """The whole answer."""
        query_id = self._host.ids()
        target, model = await self._target(ask.model, query_id)
        return self._completed(query_id, model, await self._remote.complete(target, ask.chat))

    async def stream(self, ask: Ask) -> AsyncGenerator[Started | Deltas | Completed, None]:
        """Started, the pieces, Completed."""
        query_id = self._host.ids()
        target, model = await self._target(ask.model, query_id)
        assembler = Assembler()
        yield Started(query_id, model.provider_id, model.name)
        async with aclosing(self._remote.stream(target, ask.chat)) as deltas:
            async for came in deltas:
                for delta in came:
                    assembler.add(delta)
                yield came
        yield self._completed(query_id, model, assembler.answer())

    async def _target(self, name: str, seed: str) -> tuple[Target, Model]:
        async def work(tx: Transaction) -> tuple[Target, Model]:
            await self._known.look(tx)
            registry = self._known.registry
            model = named(registry, name)
            if model is None or not model.enabled:
                raise errors.not_found("model", name)
            provider = registry.providers[model.provider_id]
            keys = await self._keyring.keys_of(tx, model.provider_id, seed)
            first = keys[0] if keys else None
            return provider.target(model, first.secret if first else "", first.key_id if first else ""), model

        return await self._host.db.read(work)

    def _completed(self, query_id: str, model: Model, answer: Answer) -> Completed:
        price, usage = self._known.price_of_model(model), answer.usage
        cost = None
        if price is not None and usage is not None:
            cost = price.cost(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
        return Completed(query_id, model.provider_id, model.name, answer, cost, usage or Usage())


def named(registry: Registry, name: str) -> Model | None:
    """The model "provider/model", or the only one of a bare name; None for none and for several."""
    provider_id, _, rest = name.partition("/")
    found = registry.model(provider_id, rest)
    bare = [model for model in registry.models if model.name == name]
    return found or (bare[0] if len(bare) == 1 else None)


async def build(host: Host) -> Parts:
    """The doors and the registry over it, and nothing else of the service."""
    knows = known.read(host.settings_of(ProviderSettings), {})
    keyring = await Keyring.open(host, knows)
    remote = Remote(host.clock)
    doors = CompatibilityService(host, Straight(host, knows, keyring, remote), knows, Room(knows.settings.large_requests_bytes))
    return Parts(
        servicers=[
            (add_RegistryServiceServicer_to_server, RegistryService(host, knows, keyring)),
            (add_CompatibilityServiceServicer_to_server, doors),
            (add_AvailabilityServiceServicer_to_server, AvailabilityService(host, knows)),
        ],
        close=[remote.close],
    )
