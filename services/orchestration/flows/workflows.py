"""Workflows: create versions, get, list, delete."""

from tooloo.orchestration.v1 import orchestration_service_pb2 as pb

from mesh import errors, page
from mesh.clock import to_us
from mesh.db import Transaction
from services.orchestration import wire, workflow_store
from services.orchestration.flows.base import Calls, Context
from services.orchestration.records import WorkflowRecord


class WorkflowCalls(Calls):
    """CreateWorkflow, GetWorkflow, ListWorkflows, DeleteWorkflow."""

    async def CreateWorkflow(self, request: pb.CreateWorkflowRequest, context: Context) -> pb.CreateWorkflowResponse:
        """Keeps a DAG as the next version of a workflow."""
        self._check_dag(request.dag)

        async def effect(tx: Transaction) -> pb.CreateWorkflowResponse:
            newest = await workflow_store.find_workflow(tx, request.workflow_id) if request.workflow_id else None
            # deterministic: maps inside a Struct have no order of their own, and equal definitions must be equal bytes
            dag = request.dag.SerializeToString(deterministic=True)
            if newest and (newest.dag, newest.description) == (dag, request.description):
                return pb.CreateWorkflowResponse(workflow=wire.workflow_message(newest))
            limit = self._settings.max_workflows
            if await workflow_store.count_workflows(tx) >= limit:
                raise errors.exhausted(self._settings.env_name("max_workflows"), f"{limit} versions are kept; delete workflows")
            made = WorkflowRecord(
                workflow_id=request.workflow_id or self._host.ids(),
                version=await workflow_store.last_version(tx, request.workflow_id) + 1,
                description=request.description,
                dag=dag,
                node_count=len(request.dag.nodes),
                created_us=to_us(self._host.clock.now()),
            )
            await workflow_store.insert_workflow(tx, made)
            return pb.CreateWorkflowResponse(workflow=wire.workflow_message(made))

        return await self._host.once(request, pb.CreateWorkflowResponse, effect)

    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.GetWorkflowResponse:
        """Gets a version of a workflow."""
        found = await self._host.db.read(lambda tx: workflow_store.find_workflow(tx, request.workflow_id, request.version))
        if found is None:
            name = f"{request.workflow_id} version {request.version}" if request.version else request.workflow_id
            raise errors.not_found("workflow", name)
        return pb.GetWorkflowResponse(workflow=wire.workflow_message(found))

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """Lists workflows by id."""
        query = page.fingerprint(request)
        after = str(page.decode_token(request.page_token, query).get("after_id", ""))
        size = page.size_of(request.page_size)
        found = await self._host.db.read(lambda tx: workflow_store.list_workflows(tx, after, size + 1))
        token = page.encode_token({"after_id": found[size - 1].workflow_id}, query) if len(found) > size else ""
        messages = [wire.workflow_message(record, dag=False) for record in found[:size]]
        return pb.ListWorkflowsResponse(workflows=messages, next_page_token=token)

    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> pb.DeleteWorkflowResponse:
        """Deletes a workflow that nothing uses."""

        async def effect(tx: Transaction) -> pb.DeleteWorkflowResponse:
            if users := await workflow_store.users_of_workflow(tx, request.workflow_id):
                subject = f"workflows/{request.workflow_id}"
                raise errors.failed_precondition(subject, f"still used by {', '.join(users)}; unbind or delete these first")
            if not await workflow_store.delete_workflow(tx, request.workflow_id):
                raise errors.not_found("workflow", request.workflow_id)
            return pb.DeleteWorkflowResponse()

        return await self._host.once(request, pb.DeleteWorkflowResponse, effect)
