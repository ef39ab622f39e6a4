"""Properties of what a query is charged for: never nothing for words that came, never less for more, else what was told."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.provider import sizes, tokens
from services.provider.assembling import Assembler
from services.provider.chat import Chat, Delta, Message, Role, Text, ToolCallDelta, Usage

CHAT = Chat((Message(Role.USER, (Text("hello"),)),))
COUNTS = st.integers(0, 100_000)
WORDS = st.text(min_size=1, max_size=50)
DELTAS = st.lists(
    st.one_of(
        WORDS.map(lambda text: Delta(text=text)),
        WORDS.map(lambda text: Delta(reasoning=text)),
        st.builds(ToolCallDelta, st.integers(0, 2), st.just("c"), st.just("f"), WORDS).map(lambda call: Delta(tool_call=call)),
    ),
    max_size=20,
)
USAGES = st.one_of(st.none(), st.builds(lambda i, o, c: Usage(i, o, min(i, c)), COUNTS, COUNTS, COUNTS))


def _answer(deltas: list[Delta], usage: Usage | None) -> Assembler:
    answer = Assembler()
    for delta in [*deltas, Delta(usage=usage)]:
        answer.add(delta)
    return answer


@given(DELTAS, USAGES, st.booleans())
def test_words_are_never_free(deltas: list[Delta], usage: Usage | None, finished: bool) -> None:
    """Whatever came costs input and output, told or not."""
    charged, estimated = tokens.to_charge(CHAT, _answer(deltas, usage), finished=finished)
    if deltas:
        assert charged is not None
        assert charged.output_tokens > 0
        assert charged.input_tokens > 0 or (usage is not None and not estimated)
    if charged is not None:
        assert charged.cached_input_tokens <= charged.input_tokens


@given(DELTAS, USAGES)
def test_what_the_provider_tells_at_the_end_counts(deltas: list[Delta], usage: Usage | None) -> None:
    """To the token, when it says anything of input and output; no input is a count that it did not make."""
    charged, estimated = tokens.to_charge(CHAT, _answer(deltas, usage), finished=True)
    if usage is not None and usage.output_tokens:
        told = usage if usage.input_tokens else replace(usage, input_tokens=tokens.of_chat(CHAT))
        assert (charged, estimated) == (told, not usage.input_tokens)
    else:
        assert charged is not None
        assert estimated or (not deltas and usage is not None)


@given(DELTAS, USAGES, st.integers(0, 20), st.floats(0.1, 20))
def test_hanging_up_earlier_never_costs_more(deltas: list[Delta], usage: Usage | None, sooner: int, per_token: float) -> None:
    """A beginning of an answer costs at most what more of it would; and never less than the provider told so far."""
    early, _ = tokens.to_charge(CHAT, _answer(deltas[:sooner], usage), finished=False, characters_per_token=per_token)
    late, _ = tokens.to_charge(CHAT, _answer(deltas, usage), finished=False, characters_per_token=per_token)
    if early is not None:
        assert late is not None
        assert early.output_tokens <= late.output_tokens
        assert early.output_tokens >= (usage.output_tokens if usage else 0)
        assert late.output_tokens >= sizes.of_characters(_answer(deltas, None).characters, per_token)


@given(DELTAS)
def test_nothing_came(deltas: list[Delta]) -> None:
    """Only then a query that was left costs nothing; an answer without a word that was finished costs its input."""
    charged, _ = tokens.to_charge(CHAT, _answer(deltas, None), finished=False)
    assert (charged is None) is (not deltas)
    empty, estimated = tokens.to_charge(CHAT, _answer([], None), finished=True)
    assert (empty, estimated) == (Usage(tokens.of_chat(CHAT), 0), True)


@given(DELTAS, USAGES, st.booleans())
def test_what_is_known_beside_the_output_stays(deltas: list[Delta], usage: Usage | None, finished: bool) -> None:
    """Cached and reasoning tokens are as they were told, also beside an estimate."""
    charged, _ = tokens.to_charge(CHAT, _answer(deltas, usage), finished=finished)
    if charged is not None and usage is not None:
        kept = replace(charged, output_tokens=usage.output_tokens, input_tokens=usage.input_tokens)
        assert kept == usage
