"""An answer that is kept comes back to the letter, whatever is in it."""

from hypothesis import given
from hypothesis import strategies as st

from services.provider import kept
from services.provider.chat import Answer, Finish, Foreign, Reasoning, Text, ToolCall

WORDS = st.text(max_size=20)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | WORDS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
PARTS = st.one_of(
    st.builds(Text, WORDS, refused=st.booleans(), citations=st.just(()) | st.just(({"cited_text": "a"}, {"cited_text": "b"}))),
    st.builds(ToolCall, WORDS, WORDS, WORDS, WORDS),
    st.builds(Reasoning, WORDS, WORDS),
    st.builds(Foreign, st.just("anthropic"), st.dictionaries(WORDS, JSON, max_size=3)),
)


@given(st.lists(PARTS, max_size=6), st.sampled_from(Finish), WORDS)
def test_what_is_kept_comes_back(parts: list[Text | ToolCall | Reasoning | Foreign], finish: Finish, stop: str) -> None:
    """Parts in their order, refusals, what only one dialect knows, why it ended."""
    answer = Answer(tuple(parts), finish, stop_sequence=stop)
    assert kept.is_kept(kept.write(answer))
    assert kept.read(kept.write(answer)) == answer


def test_half_of_a_pair_loses_nothing_else() -> None:
    """In a part that only its own dialect knows, which nobody mends."""
    parts = (Foreign("gemini", {"executableCode": {"code": "print('\ud83d')"}}), Text("hi"))
    assert kept.read(kept.write(Answer(parts, Finish.STOP))).parts[1] == Text("hi")
