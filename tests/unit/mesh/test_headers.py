"""A refusal fits into the headers of its answer, and what there is room for stays as it is."""

import base64
from urllib.parse import quote

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from mesh import errors
from mesh.headers import fitting_message, fitting_status

# what gRPC's clients take, with room for the headers that every answer has
HEADERS = 7500


@given(st.lists(st.tuples(st.text(max_size=50), st.text(max_size=5000)), min_size=1, max_size=20))
def test_whatever_a_refusal_says_it_fits(violations: list[tuple[str, str]]) -> None:
    """The code and the reason stay."""
    refusal = errors.invalid_fields([(field, text * 10) for field, text in violations])
    message, status = fitting_message(refusal.message), fitting_status(refusal.status())
    assert len(quote(message, safe=" ")) + len(base64.b64encode(status.SerializeToString())) < HEADERS
    assert status.code == refusal.code.value[0]
    info = ErrorInfo.FromString(status.details[0].value)
    assert info.reason == refusal.reason


def test_what_fits_stays_as_it_is() -> None:
    """Every letter of it."""
    refusal = errors.invalid("name", "must be \N{LATIN SMALL LETTER E WITH ACUTE}")
    assert fitting_message(refusal.message) == refusal.message
    assert fitting_status(refusal.status()) == refusal.status()


def test_long_texts_are_cut_before_a_field_is_left_out() -> None:
    """A program still finds every field at fault."""
    status = fitting_status(errors.invalid_fields([(f"events[{number}]", "x" * 5000) for number in range(16)]).status())
    fields = [violation.field for violation in BadRequest.FromString(status.details[1].value).field_violations]
    assert fields == [f"events[{number}]" for number in range(16)]


def test_a_detail_that_nobody_knows_stays_or_goes_as_a_whole() -> None:
    """It may come from another service."""
    refusal = errors.invalid("name", "x" * 10_000)
    status = refusal.status()
    status.details.append(Any(type_url="type.googleapis.com/no.such.Message", value=b"1"))
    assert fitting_status(status).details[-1].value == b"1"
