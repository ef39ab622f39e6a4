"""What a caller or a policy demands of a model; a demand that is not met puts the model out, with the reason."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from services.provider import money
from services.provider.options import Exclusion, Option
from services.provider.texts import EMBEDDINGS

# from the weakest promise to the strongest: who gives a stronger one gives the weaker ones too
DATA_POLICIES = ("", "no_training", "zero_retention", "local")

Reason = tuple[Exclusion, str]


class Constraints(Struct, frozen=True):
    """Demands; what is empty demands nothing.

    `allowed` and `forbidden` hold providers ("openai") and models ("openai/gpt-5-mini"). `max_cost` is of the whole call in nano
    units (None: any); `data_policy` is the weakest promise that will do.
    """

    capabilities: frozenset[str] = frozenset()
    min_context_window: int = 0
    allowed: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    data_policy: str = ""
    max_cost: int | None = None
    min_quality: float = 0.0

    def needing(self, capabilities: frozenset[str]) -> "Constraints":
        """The same with these capabilities too."""
        return replace(self, capabilities=self.capabilities | capabilities)


NOTHING = Constraints()


def unfit(option: Option, embeds: str) -> Reason | None:
    """Why a model is not for what is asked: vectors by the model `embeds`, or ("") an answer to a conversation."""
    makes_vectors = EMBEDDINGS in option.capabilities
    if makes_vectors is not bool(embeds):
        what = "it makes embeddings and answers no conversation" if makes_vectors else "it makes no embeddings"
        return Exclusion.CAPABILITY, what
    if embeds and option.model != embeds:
        return Exclusion.NOT_A_TARGET, f"its vectors cannot be compared with those of {embeds}"
    return None


def first_unmet(option: Option, cost: int, several: tuple[Constraints, ...]) -> Reason | None:
    """The first demand of several sets, all of which must be met, that an option does not meet."""
    for constraints in several:
        for reason in _unmet(option, cost, constraints):
            return reason
    return None


def _unmet(option: Option, cost: int, wanted: Constraints) -> Iterator[Reason]:
    names = {option.provider_id, f"{option.provider_id}/{option.model}"}
    if wanted.allowed and not names & wanted.allowed:
        yield Exclusion.NOT_ALLOWED, "neither it nor its provider is among the allowed ones"
    if forbidden := names & wanted.forbidden:
        yield Exclusion.NOT_ALLOWED, f"{min(forbidden)} is forbidden"
    if missing := wanted.capabilities - frozenset(option.capabilities):
        yield Exclusion.CAPABILITY, f"it lacks {', '.join(sorted(missing))}"
    if option.context_window < wanted.min_context_window:
        yield Exclusion.CONTEXT_WINDOW, f"its context window is {option.context_window}, {wanted.min_context_window} are wanted"
    if wanted.regions and option.region not in wanted.regions:
        where = f"it runs in {option.region!r}" if option.region else "the registry does not say where it runs"
        yield Exclusion.REGION, f"{where}; wanted: {', '.join(sorted(wanted.regions))}"
    if DATA_POLICIES.index(option.data_policy) < DATA_POLICIES.index(wanted.data_policy):
        yield Exclusion.DATA_POLICY, f"its data policy is {option.data_policy or 'not known'}, {wanted.data_policy} is wanted"
    if wanted.max_cost is not None and cost > wanted.max_cost:
        yield Exclusion.TOO_EXPENSIVE, f"it would cost {money.show(cost)}, at most {money.show(wanted.max_cost)} is wanted"
    if option.quality < wanted.min_quality:
        yield Exclusion.LOW_QUALITY, f"its expected quality is {option.quality:.3f}, at least {wanted.min_quality:g} is wanted"
