"""Everything in the contracts is explained: the comments are the reference that callers read."""

import pytest

from mesh import prose

NAMES = sorted(prose.prose())


def test_there_is_something_to_explain() -> None:
    """An empty list would prove nothing."""
    assert len(NAMES) > 500


@pytest.mark.parametrize("area", sorted({name.split(".")[1] for name in NAMES}))
def test_every_element_has_a_comment(area: str) -> None:
    """Services, RPCs by buf's lint; messages, fields, enums and their values here."""
    silent = [name for name in NAMES if name.startswith(f"tooloo.{area}.") and not prose.of(name)]
    assert not silent
