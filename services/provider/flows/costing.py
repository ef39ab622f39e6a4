"""List prices of what labels name, and the refusal when there is none."""

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.pricing import Price


def price_of(known: Known, labels: Labels) -> Price:
    """The list price of the labels' provider and model; FAILED_PRECONDITION with UNKNOWN_PRICE when nobody knows it, never zero."""
    price = known.price_of(labels.provider_id, labels.model)
    if price is None:
        raise errors.failed_precondition(
            f"providers/{labels.provider_id}/models/{labels.model}",
            "this model has no list price here; give the cost, or give the model a price (UpdateModel, or the registry file)",
            reason=ErrorReason.ERROR_REASON_UNKNOWN_PRICE,
            provider_id=labels.provider_id,
            model=labels.model,
        )
    return price
