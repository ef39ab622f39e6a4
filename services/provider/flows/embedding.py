"""What is different in a selection when vectors of texts are asked for: one model alone may make them.

Vectors of different models cannot be compared. So another model never takes over, whatever chains and policies say: models are the
same when they have the same name in the registry, wherever they are served.
"""

from mesh import errors
from mesh.db import Transaction
from services.provider import selection_store, tokens
from services.provider.completing_port import Ask, is_name
from services.provider.flows import fallbacks, selecting
from services.provider.flows.known import Known
from services.provider.routing import Size
from services.provider.strategies import Strategy
from services.provider.texts import Texts

_MOST_NAMED = 8


def wanted(ask: Ask, texts: Texts, chance: str) -> selecting.Ask:
    """What selection needs to know: who serves the model is weighed as usual, and what the policy demands holds."""
    sizes = [tokens.of_item(item) for item in texts.items]
    return selecting.Ask(
        # each text is read by itself
        size=Size(sum(sizes), 0, max(sizes)),
        labels=ask.all_labels,
        strategy=Strategy.BALANCED,
        policy_id=ask.policy_id,
        constraints=ask.constraints,
        chance=chance,
    )


async def model_of(tx: Transaction, known: Known, name: str) -> str:
    """The one model that a caller's name stands for; INVALID_ARGUMENT for "auto" and for an alias of several models."""
    if not is_name(name):
        raise errors.invalid("model", f"name the model: vectors of different models cannot be compared. {_offered(known)}")
    keys = [model for model in known.registry.models if name == "/".join(model.key)]
    found = keys or [model for model in known.registry.models if name == model.name]
    if found:
        return found[0].name
    alias = await selection_store.get_alias(tx, name)
    if alias is None:
        raise errors.not_found("model", name)
    names = sorted({model for _, model in alias.shares})
    if len(names) > 1:
        several = f"the alias {name} stands for several models ({', '.join(names)}), whose vectors cannot be compared"
        raise errors.invalid("model", f"{several}; give it one model, or name one")
    return names[0]


def _offered(known: Known) -> str:
    """The embedding models that have an address, and a key where they need one, in a sentence."""
    found = ["/".join(model.key) for model in known.registry.models if model.embeds and model.enabled]
    able = [name for name in found if fallbacks.may_call(known, name.partition("/")[0])]
    return f"Embedding models that are set up here: {', '.join(able[:_MOST_NAMED])}" if able else "None is set up here"
