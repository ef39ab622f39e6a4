"""What callers say beside the body: labels that budgets count by, and a key that is named and never kept."""

import pytest

from services.provider import callers
from services.provider.dialects.asked import Unreadable


def labels_of(headers: dict[str, str], user: str, most: int = 8) -> dict[str, str]:
    """With the settings' own limits, unless a test says otherwise."""
    return callers.labels_of(headers, user, most=most, longest=128)


def test_labels_come_from_header_body_and_key() -> None:
    """The header wins over the body's user; the key becomes a fingerprint."""
    headers = {"x-tooloo-labels": "team=a, project=b-1 ,", "authorization": "Bearer sk-caller"}
    labels = labels_of(headers, "ada")
    assert labels == {"team": "a", "project": "b-1", "user": "ada", "key": callers.fingerprint("sk-caller")}
    assert labels_of({"x-tooloo-labels": "user=eve"}, "ada")["user"] == "eve"
    assert "sk-caller" not in str(labels)


def test_both_vendors_headers_name_the_same_key() -> None:
    """OpenAI's clients send a bearer token, Anthropic's x-api-key."""
    assert labels_of({"x-api-key": "k"}, "") == labels_of({"authorization": "bearer k"}, "") != {}
    assert labels_of({"authorization": "Basic abc"}, "") == {}


def test_a_user_that_is_no_label_is_named_by_a_fingerprint() -> None:
    """Claude's clients send long JSON there: it still counts as one user, the same each time."""
    found = labels_of({}, '{"device": "x y"}')["user"]
    assert found == labels_of({}, '{"device": "x y"}')["user"] == callers.fingerprint('{"device": "x y"}')


@pytest.mark.parametrize(
    "text",
    [
        *("Team=a", "team", "team=", "=a", "team=a b", "day=x", "team=a,team=b"),
        *("provider=openai", "model=x", "key=k", ",".join(f"l{n}=1" for n in range(9))),
    ],
)
def test_labels_that_are_none_are_refused(text: str) -> None:
    """By the header's name; who answers is not for callers to say."""
    with pytest.raises(Unreadable) as caught:
        labels_of({"x-tooloo-labels": text}, "")
    assert caught.value.field == "x-tooloo-labels"


def test_the_limit_on_labels_holds_at_the_doors() -> None:
    """What budgets and reports can hold is what callers may say; the key takes one place, and none where there is no place."""
    eight = {"x-tooloo-labels": ",".join(f"l{n}=1" for n in range(8))}
    assert len(labels_of(eight, "ada")) == 9
    with pytest.raises(Unreadable, match="at most 7 labels"):
        labels_of(eight | {"x-api-key": "k"}, "ada")
    assert labels_of({"x-api-key": "k"}, "ada", most=0) == {"user": "ada"}


def test_idempotency_keys_belong_to_their_caller() -> None:
    """Any text will do (OpenAI's client sends no uuid); two callers with the same one do not get each other's answers."""
    headers = {"idempotency-key": "stainless-python-retry-1"}
    mine, others = callers.request_id_of(headers, {"key": "a"}), callers.request_id_of(headers, {"key": "b"})
    assert len(mine) == 36
    assert mine == callers.request_id_of(headers, {"key": "a"}) != others
    assert callers.request_id_of({}, {}) == ""
