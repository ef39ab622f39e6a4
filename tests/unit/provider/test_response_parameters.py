"""Every parameter of POST /v1/responses in every dialect: it goes along, is refused by its name, or is told as left out."""

from collections.abc import Mapping
from typing import Any

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from services.provider.dialects.asked import Unreadable
from services.provider.dialects.doors import ResponsesDoor
from tests.unit.provider.test_parameters import HINT, MODELS, REFUSED, SCHEMA, TOLD, Row, fate_of

DOOR = ResponsesDoor()
FUNCTION = {"type": "function", "name": "marked", "parameters": SCHEMA}
STRICT = {"type": "function", "name": "f", "strict": True}


def said(content: Any, **fields: Any) -> dict[str, Any]:
    """An input of this message."""
    return {"input": [{"role": "user", "content": content, **fields}]}


PICTURE = said([{"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"}])
# what is given, and what becomes of it in the dialects of OpenAI, Anthropic, Gemini, Ollama
ROWS: Mapping[str, Row] = {
    "input": (said("marked"), *("marked",) * 4),
    "input.note": (said("x", note=1), *(TOLD,) * 4),
    "image_url.detail": (PICTURE, '"detail":"low"', TOLD, TOLD, TOLD),
    "instructions": ({"instructions": "marked"}, *("marked",) * 4),
    "max_output_tokens": ({"max_output_tokens": 77}, *("77",) * 4),
    "temperature": ({"temperature": 0.25}, *("0.25",) * 4),
    "top_p": ({"top_p": 0.25}, *("0.25",) * 4),
    "tools": ({"tools": [FUNCTION]}, *('"marked"',) * 4),
    "tools.strict": ({"tools": [STRICT]}, '"strict":true', '"strict":true', TOLD, TOLD),
    "tool_choice": ({"tools": [FUNCTION], "tool_choice": "required"}, '"required"', '"any"', '"ANY"', REFUSED),
    "parallel_tool_calls": (
        {"tools": [FUNCTION], "parallel_tool_calls": False},
        *('"parallel_tool_calls":false', '"disable_parallel_tool_use":true', REFUSED, REFUSED),
    ),
    "text": ({"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}}, *("marked",) * 4),
    "text.verbosity": ({"text": {"verbosity": "low"}}, '"verbosity"', TOLD, TOLD, TOLD),
    "reasoning": ({"reasoning": {"effort": "low", "summary": "auto"}}, "low", "budget_tokens", "thinkingBudget", '"think":"low"'),
    "reasoning.effort": ({"reasoning": {"effort": "low"}, "max_output_tokens": 100}, "low", TOLD, "2048", "low"),
    "service_tier": ({"service_tier": "priority"}, '"service_tier"', TOLD, TOLD, TOLD),
    "metadata": ({"metadata": {"a": "b"}}, '"metadata"', HINT, HINT, HINT),
    "store": ({"store": True}, '"store"', HINT, HINT, HINT),
    "user": ({"user": "marked"}, "marked", HINT, HINT, HINT),
    "safety_identifier": ({"safety_identifier": "marked"}, "marked", HINT, HINT, HINT),
    "prompt_cache_key": ({"prompt_cache_key": "marked"}, "marked", HINT, HINT, HINT),
    "prompt_cache_options": ({"prompt_cache_options": {"a": 1}}, '"prompt_cache_options"', HINT, HINT, HINT),
    "prompt_cache_retention": ({"prompt_cache_retention": "24h"}, "24h", HINT, HINT, HINT),
    "moderation": ({"moderation": {"model": "x"}}, '"moderation"', REFUSED, REFUSED, REFUSED),
}
# what no answer could show, or would need what is not kept here
REFUSED_AT_THE_DOOR: Mapping[str, Any] = {
    "access_programs": ["x"],
    "background": True,
    "background_options": {"a": 1},
    "conversation": "conv_1",
    "context_management": [{"type": "compaction"}],
    "image": {"a": 1},
    "include": ["file_search_call.results"],
    "previous_response_id": "resp_1",
    "prompt": {"id": "p"},
    "stream_options": {"include_obfuscation": True},
    "top_logprobs": 3,
    "truncation": "auto",
}
# of tools that run at a provider, of which there are none: they change nothing
WITHOUT_EFFECT = {"max_tool_calls"}


@pytest.mark.parametrize("name", ROWS)
def test_what_becomes_of_a_parameter(name: str) -> None:
    """As the table says, in each dialect."""
    given, *fates = ROWS[name]
    for dialect, wanted in zip(MODELS, fates, strict=True):
        assert fate_of(DOOR, {"input": "x", **given}, dialect, name, wanted) == wanted, dialect


def test_no_parameter_is_missing() -> None:
    """The official client knows no other; a new version of it that does makes this table longer."""
    assert set(ResponseCreateParamsBase.__annotations__) <= {*ROWS, *REFUSED_AT_THE_DOOR, *WITHOUT_EFFECT, "model"}


@pytest.mark.parametrize("name", REFUSED_AT_THE_DOOR)
def test_what_no_answer_could_show(name: str) -> None:
    """Refused by its name, whatever the model."""
    with pytest.raises(Unreadable, match=name):
        DOOR.read({"model": "m", "input": "x", name: REFUSED_AT_THE_DOOR[name]})


def test_what_is_about_tools_of_providers_is_taken() -> None:
    """It bounds what never happens."""
    assert DOOR.read({"model": "m", "input": "x", "max_tool_calls": 3}).unread == ()
