"""Every parameter of both doors in every dialect: it goes along, is refused by its name, or is told as left out. None is lost."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsBase
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from services.provider.dialects.asked import Unreadable
from services.provider.dialects.doors import AnthropicDoor, Door, OpenAIDoor
from services.provider.dialects.table import DIALECTS, left_out, unfit
from services.provider.target import Manner, Target

SCHEMA = {"type": "object", "properties": {"marked": {"type": "string"}}}
MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash", "ollama": "llama3.2:3b"}
# REFUSED: by its name. TOLD: in the header. HINT: changes nothing about the answer, so others go without. A text: what it becomes
REFUSED, TOLD, HINT = "refused", "told", "hint"
Fate = str
Row = tuple[Mapping[str, Any], Fate, Fate, Fate, Fate]

FUNCTION = {"type": "function", "function": {"name": "marked", "parameters": SCHEMA}}
STRICT = {"type": "function", "function": {"name": "f", "strict": True}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}


def said(**message: Any) -> dict[str, Any]:
    """A conversation of this message."""
    return {"messages": [{"role": "user", "content": "x", **message}]}


# what is given, and what becomes of it in the dialects of OpenAI, Anthropic, Gemini, Ollama
OPENAI: Mapping[str, Row] = {
    "messages": (said(content="marked"), *("marked",) * 4),
    "messages.name": (said(name="marked"), "marked", TOLD, TOLD, TOLD),
    "image_url.detail": (said(content=[PICTURE]), '"detail":"low"', TOLD, TOLD, TOLD),
    "messages.annotations": (said(annotations=[1]), *(TOLD,) * 4),
    "frequency_penalty": (
        {"frequency_penalty": 0.5},
        '"frequency_penalty":0.5',
        REFUSED,
        '"frequencyPenalty":0.5',
        '_penalty":0.5',
    ),
    "presence_penalty": ({"presence_penalty": 0.5}, '"presence_penalty":0.5', REFUSED, '"presencePenalty":0.5', '_penalty":0.5'),
    "max_completion_tokens": ({"max_completion_tokens": 77}, *("77",) * 4),
    "max_tokens": ({"max_tokens": 77}, *("77",) * 4),
    "temperature": ({"temperature": 0.25}, *("0.25",) * 4),
    "temperature of 2": ({"temperature": 1.75}, "1.75", TOLD, "1.75", "1.75"),
    "top_p": ({"top_p": 0.25}, *("0.25",) * 4),
    "stop": ({"stop": ["marked"]}, *("marked",) * 4),
    "stop that is blank": ({"stop": "\n"}, "\\n", REFUSED, "\\n", "\\n"),
    "seed": ({"seed": 77}, '"seed":77', TOLD, '"seed":77', '"seed":77'),
    "tools": ({"tools": [FUNCTION]}, *('"marked"',) * 4),
    "tools.strict": ({"tools": [STRICT]}, '"strict":true', '"strict":true', TOLD, TOLD),
    "tool_choice": ({"tools": [FUNCTION], "tool_choice": "required"}, '"required"', '"any"', '"ANY"', REFUSED),
    "parallel_tool_calls": (
        {"tools": [FUNCTION], "parallel_tool_calls": False},
        *('"parallel_tool_calls":false', '"disable_parallel_tool_use":true', REFUSED, REFUSED),
    ),
    "response_format": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}},
        *("marked",) * 4,
    ),
    "response_format of any JSON": (
        {"response_format": {"type": "json_object"}},
        *("json_object", "JSON object", "application/json", '"format":"json"'),
    ),
    "reasoning_effort": ({"reasoning_effort": "low"}, "low", "budget_tokens", "thinkingBudget", '"think":"low"'),
    "reasoning_effort with too few tokens": ({"reasoning_effort": "low", "max_tokens": 100}, "low", TOLD, "2048", "low"),
    "logit_bias": ({"logit_bias": {"5": 1}}, '"logit_bias"', REFUSED, REFUSED, REFUSED),
    "verbosity": ({"verbosity": "low"}, '"verbosity"', TOLD, TOLD, TOLD),
    "prediction": ({"prediction": {"type": "content", "content": "y"}}, '"prediction"', HINT, HINT, HINT),
    "moderation": ({"moderation": {"model": "x"}}, '"moderation"', REFUSED, REFUSED, REFUSED),
    "web_search_options": ({"web_search_options": {"a": 1}}, '"web_search_options"', REFUSED, REFUSED, REFUSED),
    "service_tier": ({"service_tier": "priority"}, '"service_tier"', TOLD, TOLD, TOLD),
    "metadata": ({"metadata": {"a": "b"}}, '"metadata"', HINT, HINT, HINT),
    "store": ({"store": True}, '"store"', HINT, HINT, HINT),
    "user": ({"user": "marked"}, "marked", HINT, HINT, HINT),
    "safety_identifier": ({"safety_identifier": "marked"}, "marked", HINT, HINT, HINT),
    "prompt_cache_key": ({"prompt_cache_key": "marked"}, "marked", HINT, HINT, HINT),
    "prompt_cache_options": ({"prompt_cache_options": {"a": 1}}, '"prompt_cache_options"', HINT, HINT, HINT),
    "prompt_cache_retention": ({"prompt_cache_retention": "24h"}, "24h", HINT, HINT, HINT),
}
# what no dialect is asked for, as no answer could show it; `model` and streaming are ours
REFUSED_AT_THE_DOOR: Mapping[str, Any] = {
    "audio": {"voice": "x", "format": "mp3"},
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logprobs": True,
    "modalities": ["audio"],
    "n": 2,
    "top_logprobs": 3,
    "stream_options": {"include_usage": True},
}

CUSTOM = {"name": "marked", "input_schema": SCHEMA}
EXAMPLES = {"name": "f", "input_schema": SCHEMA, "input_examples": [{"x": 1}]}
ANTHROPIC: Mapping[str, Row] = {
    "messages": (said(content="marked"), *("marked",) * 4),
    "messages.content.citations": (
        said(content=[{"type": "text", "text": "x", "citations": [{"a": 1}]}]),
        *(TOLD,) * 4,
    ),
    "system": ({"system": [{"type": "text", "text": "marked"}]}, *("marked",) * 4),
    "max_tokens": ({"max_tokens": 77}, *("77",) * 4),
    "temperature": ({"temperature": 0.25}, *("0.25",) * 4),
    "top_p": ({"top_p": 0.25}, *("0.25",) * 4),
    "top_k": ({"top_k": 77}, *("77",) * 4),
    "stop_sequences": ({"stop_sequences": ["marked"]}, *("marked",) * 4),
    "tools": ({"tools": [CUSTOM]}, *('"marked"',) * 4),
    "tools.input_examples": ({"tools": [EXAMPLES]}, TOLD, '"input_examples"', TOLD, TOLD),
    "tool_choice": ({"tools": [CUSTOM], "tool_choice": {"type": "any"}}, '"required"', '"any"', '"ANY"', REFUSED),
    "tool_choice.disable_parallel_tool_use": (
        {"tools": [CUSTOM], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        *('"parallel_tool_calls":false', '"disable_parallel_tool_use":true', REFUSED, REFUSED),
    ),
    "thinking": (
        {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}},
        *('"low"', '"budget_tokens":2000,"display":"omitted"', '"thinkingBudget":2000', '"think":true'),
    ),
    "thinking where a tool must be called": (
        {
            "max_tokens": 4000,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [CUSTOM],
            "tool_choice": {"type": "any"},
        },
        *('"low"', TOLD, '"thinkingBudget":2000', REFUSED),
    ),
    "output_config": ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, *("marked",) * 4),
    "output_config of effort": ({"output_config": {"effort": "low"}}, TOLD, '"effort":"low"', TOLD, TOLD),
    "context_management": ({"context_management": {"edits": [1]}}, TOLD, '"context_management"', TOLD, TOLD),
    "container": ({"container": "marked"}, REFUSED, "marked", REFUSED, REFUSED),
    "inference_geo": ({"inference_geo": "eu"}, REFUSED, '"eu"', REFUSED, REFUSED),
    "speed": ({"speed": "fast"}, REFUSED, '"fast"', REFUSED, REFUSED),
    "user_profile_id": ({"user_profile_id": "marked"}, REFUSED, "marked", REFUSED, REFUSED),
    "workspace_id": ({"workspace_id": "marked"}, REFUSED, "marked", REFUSED, REFUSED),
    "metadata": ({"metadata": {"user_id": "marked"}}, HINT, "marked", HINT, HINT),
    "cache_control": ({"cache_control": {"type": "ephemeral"}}, HINT, '"cache_control"', HINT, HINT),
    "diagnostics": ({"diagnostics": {"a": 1}}, HINT, '"diagnostics"', HINT, HINT),
    "service_tier": ({"service_tier": "standard_only"}, TOLD, '"service_tier"', TOLD, TOLD),
}
DOORS: Mapping[str, tuple[Door, Mapping[str, Any], Mapping[str, Row]]] = {
    "openai": (OpenAIDoor(), said(), OPENAI),
    "anthropic": (AnthropicDoor(), {**said(), "max_tokens": 5000}, ANTHROPIC),
}
CASES = [(door, name) for door, (_, _, rows) in DOORS.items() for name in rows]


def fate_of(door: Door, body: Mapping[str, Any], dialect: str, name: str, wanted: Fate) -> Fate:
    """What becomes of a request in a dialect; `wanted` when that stands in what is sent."""
    asked = door.read({"model": "m", **body})
    if why := unfit(dialect, asked.chat, MODELS[dialect]):
        # by the caller's name, or OpenAI's where both have one
        return REFUSED if any(known in why for known in {*body, "parallel_tool_calls", "stop"} - {"messages"}) else why
    target = Target("p", MODELS[dialect], dialect, "http://nowhere")
    if told := door.left_out(asked, left_out(asked.chat, target)):
        return TOLD if name in told.split(", ") else told
    sent = DIALECTS[dialect].request(asked.chat, target, stream=False).body.decode()
    if wanted != HINT:
        return wanted if wanted in sent else sent
    return HINT if json.dumps(body[name], separators=(",", ":")) not in sent else sent


@pytest.mark.parametrize(("at", "name"), CASES)
def test_what_becomes_of_a_parameter(at: str, name: str) -> None:
    """As the table says, in each dialect."""
    door, common, rows = DOORS[at]
    given, *fates = rows[name]
    for dialect, wanted in zip(MODELS, fates, strict=True):
        assert fate_of(door, {**common, **given}, dialect, name.split(maxsplit=1)[0], wanted) == wanted, dialect


def test_no_parameter_is_missing() -> None:
    """The official clients know no other; a new version of theirs that does makes this table longer."""
    known = {*OPENAI, *REFUSED_AT_THE_DOOR, "model"}
    assert set(CompletionCreateParamsBase.__annotations__) <= known
    assert set(MessageCreateParamsBase.__annotations__) <= {*ANTHROPIC, "model"}


@pytest.mark.parametrize("name", REFUSED_AT_THE_DOOR)
def test_what_no_answer_could_show(name: str) -> None:
    """Refused by its name, whatever the model."""
    with pytest.raises(Unreadable, match=name):
        OpenAIDoor().read({"model": "m", **said(), name: REFUSED_AT_THE_DOOR[name]})


def test_what_an_operator_leaves_out_is_told() -> None:
    """A provider that refuses a field is not sent it, and the caller learns that."""
    asked = OpenAIDoor().read({"model": "m", **said(), "seed": 7, "top_p": 0.5})
    target = Target("p", "m", "openai", "http://nowhere", manner=Manner(drop=("seed", "stream_options")))
    assert OpenAIDoor().left_out(asked, left_out(asked.chat, target)) == "seed"


def test_a_header_holds_no_made_up_name() -> None:
    """A field's name is the caller's own: what no header may hold is not in it, and there are not too many."""
    message = {"role": "user", "content": "x", "a\r\nb": 1, "ü": 1, **{f"field{number}": 1 for number in range(99)}}
    told = OpenAIDoor().left_out(OpenAIDoor().read({"model": "m", "messages": [message]}), ())
    assert told.startswith("messages.field0, messages.field1")
    assert len(told.split(", ")) == 32


def test_top_p_of_1_beside_a_temperature() -> None:
    """It is what Anthropic takes without it, and its newer models refuse both: many clients send it with every temperature."""
    for given, sent in (({"temperature": 0.5, "top_p": 1}, None), ({"top_p": 1}, 1), ({"temperature": 0.5, "top_p": 0.9}, 0.9)):
        asked = OpenAIDoor().read({"model": "m", **said(), **given})
        target = Target("p", MODELS["anthropic"], "anthropic", "http://nowhere")
        assert json.loads(DIALECTS["anthropic"].request(asked.chat, target, stream=False).body).get("top_p") == sent


MARK: Mapping[str, Any] = {"cache_control": {"type": "ephemeral"}}
LONG_MARK: Mapping[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
MARKED = {
    "system": [{"type": "text", "text": "rules", **LONG_MARK}],
    "tools": [{"name": "look", "input_schema": SCHEMA, **MARK}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a book", **MARK}, {"type": "image", "source": PNG, **MARK}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "found", **MARK}]},
    ],
}


def test_marks_of_what_to_cache_go_to_who_takes_them() -> None:
    """OpenRouter has them at texts, pictures, results and tools; other providers of the dialect would refuse them."""
    chat = AnthropicDoor().read({"model": "m", "max_tokens": 9, **MARKED}).chat
    for takes in (True, False):
        target = Target("p", "m", "openai", "http://nowhere", manner=Manner(cache_marks=takes))
        sent = json.loads(DIALECTS["openai"].request(chat, target, stream=False).body)
        assert json.dumps(sent).count("cache_control") == (5 if takes else 0)
        system, user, _, result = sent["messages"]
        if takes:
            assert system["content"] == [{"type": "text", "text": "rules", **LONG_MARK}]
            assert user["content"][0] == {"type": "text", "text": "a book", **MARK}
            assert MARK.items() <= user["content"][1].items()
            assert result == {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "found", **MARK}]}
            assert MARK.items() <= sent["tools"][0].items()
        else:
            assert (system["content"], result["content"]) == ("rules", "found")


def test_a_mark_for_the_whole_request_goes_to_who_takes_marks() -> None:
    """At the top of a request it stands for the last part that can be kept, at Anthropic and at OpenRouter."""
    chat = AnthropicDoor().read({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **LONG_MARK}).chat
    for dialect, takes in (("anthropic", False), ("openai", True), ("openai", False)):
        target = Target("p", "m", dialect, "http://nowhere", manner=Manner(cache_marks=takes))
        sent = json.loads(DIALECTS[dialect].request(chat, target, stream=False).body)
        assert sent.get("cache_control") == (LONG_MARK["cache_control"] if takes or dialect == "anthropic" else None)
        assert json.dumps(sent).count("cache_control") == (takes or dialect == "anthropic")
