"""Expected quality of a model in a domain: the registry's prior moved by the feedback seen there."""

from msgspec import Struct

# the learning service cuts longer ones
_LONGEST_DOMAIN = 64


class Feedback(Struct, frozen=True):
    """Scores of 0..1 that a model earned in one domain: how many, and their sum."""

    count: int = 0
    total: float = 0.0

    def plus(self, score: float) -> "Feedback":
        """The same with one more score."""
        return Feedback(self.count + 1, self.total + min(max(score, 0.0), 1.0))


class LearnedQuality(Struct, frozen=True):
    """What was learned of a model over all prompts: its quality 0..1, from how many outcomes, and what those weigh together."""

    quality: float
    outcomes: int
    evidence: float


def expected(prior: float, prior_weight: float, feedback: Feedback) -> float:
    """Mean of a Beta posterior whose prior counts as `prior_weight` scores.

    Gelman et al., "Bayesian Data Analysis", 3rd ed. 2013, section 2.4.
    """
    return (prior * prior_weight + feedback.total) / (prior_weight + feedback.count)


def domain_of(focus_area: str) -> str:
    """The domain that a focus area stands for, written as the learning service tells it: "Knot  theory" is "knot-theory"."""
    words = focus_area.casefold().replace("/", " ").replace("_", " ").split()
    return "-".join(words)[:_LONGEST_DOMAIN].strip("-")
