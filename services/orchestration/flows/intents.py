"""Intents: classify a text, list what is known, bind to a workflow."""

from tooloo.orchestration.v1 import intent_pb2
from tooloo.orchestration.v1 import orchestration_service_pb2 as pb

from mesh import errors
from mesh.db import Transaction
from services.orchestration import events, slots, wire, workflow_store
from services.orchestration.examples import Intent
from services.orchestration.flows.base import Calls, Context
from services.orchestration.intent import Reading
from services.orchestration.records import Binding

_SHOWN_EXAMPLES = 5


class IntentCalls(Calls):
    """AnalyzeIntent, ListIntents, BindIntent."""

    async def AnalyzeIntent(self, request: pb.AnalyzeIntentRequest, context: Context) -> pb.AnalyzeIntentResponse:
        """Classifies a text and tells it; the bound workflow starts when the event is heard."""
        reading = await self._parts.classifier.read(request.text)
        found = slots.find(request.text)

        async def effect(tx: Transaction) -> pb.AnalyzeIntentResponse:
            intent_id = self._host.ids()
            await self._host.tell(tx, events.intent_classified(intent_id, request.user_id, request.text, reading, found))
            return pb.AnalyzeIntentResponse(
                intent_id=intent_id,
                name=reading.name,
                confidence=reading.confidence,
                out_of_scope=reading.out_of_scope,
                slots=wire.struct_of(found),
                alternatives=[pb.IntentCandidate(name=other.name, confidence=other.confidence) for other in reading.alternatives],
                workflow_id=await _workflow_started_by(tx, reading),
            )

        return await self._host.once(request, pb.AnalyzeIntentResponse, effect)

    async def ListIntents(self, request: pb.ListIntentsRequest, context: Context) -> pb.ListIntentsResponse:
        """Lists the intents with what they are bound to."""
        bound = await self._host.db.read(workflow_store.bindings)
        known = self._parts.classifier.intents
        model = self._parts.classifier.model
        return pb.ListIntentsResponse(
            intents=[_message(known[name], bound.get(name)) for name in sorted(known)],
            classifier="ready" if model else "training",
            held_out_accuracy=model.accuracy if model else 0.0,
        )

    async def BindIntent(self, request: pb.BindIntentRequest, context: Context) -> pb.BindIntentResponse:
        """Binds or unbinds an intent."""
        known = self._parts.classifier.intents.get(request.name)

        async def effect(tx: Transaction) -> pb.BindIntentResponse:
            if known is None:
                return await _unbind_unknown(tx, request)
            if not request.workflow_id:
                await workflow_store.unbind(tx, request.name)
                return pb.BindIntentResponse(intent=_message(known, None))
            if await workflow_store.find_workflow(tx, request.workflow_id) is None:
                raise errors.not_found("workflow", request.workflow_id)
            binding = Binding(request.name, request.workflow_id, request.min_confidence)
            await workflow_store.bind(tx, binding)
            return pb.BindIntentResponse(intent=_message(known, binding))

        return await self._host.once(request, pb.BindIntentResponse, effect)


async def _unbind_unknown(tx: Transaction, request: pb.BindIntentRequest) -> pb.BindIntentResponse:
    """Frees a workflow of an intent that the file does not have any more; NOT_FOUND when there is nothing to free."""
    if request.workflow_id or await workflow_store.find_binding(tx, request.name) is None:
        raise errors.not_found("intent", request.name)
    await workflow_store.unbind(tx, request.name)
    return pb.BindIntentResponse(intent=intent_pb2.Intent(name=request.name))


async def _workflow_started_by(tx: Transaction, reading: Reading) -> str:
    """The workflow that the event of this reading will start, as things are bound now; "" when none."""
    binding = None if reading.out_of_scope else await workflow_store.find_binding(tx, reading.name)
    return binding.workflow_id if binding and reading.confidence >= binding.min_confidence else ""


def _message(known: Intent, binding: Binding | None) -> intent_pb2.Intent:
    return intent_pb2.Intent(
        name=known.name,
        description=known.description,
        examples=known.texts[:_SHOWN_EXAMPLES],
        example_count=len(known.texts),
        workflow_id=binding.workflow_id if binding else "",
        min_confidence=binding.min_confidence if binding else 0.0,
    )
