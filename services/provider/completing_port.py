"""What the doors ask of whoever completes conversations (flows/completing.py), and what may come back."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from msgspec import Struct, field
from propcache.api import cached_property

from services.provider.chat import NONE_USED, Answer, Chat, Deltas, Usage
from services.provider.constraints import NOTHING, Constraints
from services.provider.failure import CallFailedError, Failure
from services.provider.labels import Labels
from services.provider.query import Query, Tried
from services.provider.strategies import Strategy
from services.provider.texts import Texts

# what a caller writes for a model when it is to be selected
AUTO = "auto"


def is_name(model: str) -> bool:
    """Whether that is the name of a model or an alias; else one is to be selected."""
    return model not in ("", AUTO)


class Ask(Struct, frozen=True, dict=True):
    """A conversation to be completed, or texts to make vectors of.

    `model` is as the caller wrote it: "provider/model", a model, an alias, or "auto", which texts cannot have.
    `request_id` is the caller's idempotency key; "" without one. `deadline` is how long the caller waits; None: as settings say.
    `policy_id` and `fallback_chain` name what was set under that name; "" is the installation's own.
    """

    content: Chat | Texts
    model: str
    labels: Mapping[str, str] = field(default_factory=dict)
    session_id: str = ""
    request_id: str = ""
    stream: bool = False
    deadline: timedelta | None = None
    focus_area: str = ""
    policy_id: str = ""
    fallback_chain: str = ""
    strategy: Strategy | None = None
    quality_weight: float | None = None
    constraints: Constraints = NOTHING

    @property
    def chat(self) -> Chat:
        """The conversation; TypeError for texts."""
        if isinstance(self.content, Texts):
            raise TypeError("vectors of texts are asked for, not an answer")
        return self.content

    @cached_property
    def all_labels(self) -> Labels:
        """The labels as a set."""
        return Labels.of(self.labels)

    @property
    def silent(self) -> bool:
        """Whether long may be heard nothing: all of it comes at once, or OpenAI's models think before they say the first word."""
        return not self.stream or (isinstance(self.content, Chat) and self.content.thinks)

    @property
    def by_name(self) -> bool:
        """Whether the caller named a model or an alias."""
        return is_name(self.model)


class Started(Struct, frozen=True):
    """The first that a stream tells: who answers. `estimated_cost` is in nano units; None when nobody knows."""

    query_id: str
    provider_id: str
    model: str
    estimated_cost: int | None = None


class Completed(Struct, frozen=True):
    """The last that a stream tells, and what a call without a stream gives. `cost` is in nano units; None when nobody knows.

    `answer` is whole in both cases; for texts it has their vectors. `usage` is what was charged; `usage_estimated` says that the
    provider told none.
    """

    query_id: str
    provider_id: str
    model: str
    answer: Answer
    cost: int | None = None
    usage: Usage = NONE_USED
    usage_estimated: bool = False
    tried: Sequence[Tried] = ()


class QueryFailedError(CallFailedError):
    """No model could answer, or not to the end; `query` is what was tried and charged all the same."""

    def __init__(self, failure: Failure, query: Query) -> None:
        super().__init__(failure)
        self.query = query


class Completer(Protocol):
    """Completes conversations. Both raise QueryFailedError when no model could answer, or a Refusal (mesh.errors) of ours."""

    async def complete(self, ask: Ask) -> Completed:
        """The whole answer."""
        ...

    def stream(self, ask: Ask) -> AsyncGenerator[Started | Deltas | Completed, None]:
        """Started, the pieces (together what came together), Completed.

        Closing it early (the caller hung up) ends the call to the provider and settles it.
        """
        ...
