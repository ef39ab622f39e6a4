"""Ask a model within a budget: `python -m examples.assistant.ask USER QUESTION`."""

import sys

import grpc
from google.type.money_pb2 import Money
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.chat_pb2 import ChatMessage
from tooloo.provider.v1.completion_service_pb2 import CompleteRequest
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.provider_service_pb2 import SetBudgetRequest
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from examples.assistant.door import once, open_door, why

HALF_A_DOLLAR = Money(currency_code="USD", nanos=500_000_000)


def keep_within(door: grpc.Channel, user: str, limit: Money) -> None:
    """A limit for what a user's questions may cost in a day; set again, it stays one budget."""
    budget = Budget(
        budget_id=f"assistant-{user}",
        scope=BudgetScope(user_id=user),
        window=BudgetWindow(period=BudgetWindow.PERIOD_DAY),
        limit=limit,
        mode=Budget.MODE_DENY,
    )
    ProviderServiceStub(door).SetBudget(SetBudgetRequest(budget=budget))


def ask(door: grpc.Channel, user: str, question: str) -> str:
    """The answer, with who gave it and what it cost; or why there is none."""
    request = CompleteRequest(request_id=once(), user_id=user, messages=[ChatMessage(text=question)])
    try:
        answer = CompletionServiceStub(door).Complete(request)
    except grpc.RpcError as error:
        return f"No answer. {why(error)}"
    account = answer.account
    cost = account.cost.units + account.cost.nanos / 1e9
    return f"{answer.message.text}\n({account.provider_id}/{account.model}, {cost:.4f} USD)"


if __name__ == "__main__":
    with open_door() as channel:
        keep_within(channel, sys.argv[1], HALF_A_DOLLAR)
        print(ask(channel, sys.argv[1], sys.argv[2]))
