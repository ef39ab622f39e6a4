"""The calls that the reference shows to copy are ones that the door takes."""

import shlex

import pytest

from gateway.handbook import samples, usage
from mesh import contracts
from tests.support.mesh import Mesh

# an OAuth provider sends a browser there with either of two fields, which no rule of the contract can ask for
SENT_BY_OTHERS = {"tooloo.integration.v1.IntegrationService/HandleOAuthCallback"}
READS = [
    each
    for name, each in contracts.methods().items()
    if each.unary and each.http and each.http.verb == "GET" and name not in SENT_BY_OTHERS
]
# what the door or the boundary says of a call that is not formed as the contract has it
MALFORMED = ("INVALID_FIELD", "MALFORMED_BODY", "UNKNOWN_CALL", "INVALID_PAGE_TOKEN")


@pytest.mark.parametrize("read", READS, ids=lambda each: each.name)
async def test_a_read_of_the_reference_is_well_formed(mesh: Mesh, read: contracts.Method) -> None:
    """It may find nothing, for its ids are examples; but path, query and fields are right."""
    url = shlex.split(usage.curl(read, samples.sample(read.request)))[-1]
    async with mesh.rest() as client:
        answer = await client.get(url.replace(usage.DOOR, mesh.url))
    assert answer.status_code not in (405, 500, 501), answer.text
    assert not any(f'"{reason}"' in answer.text for reason in MALFORMED), answer.text
