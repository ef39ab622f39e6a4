"""What we send to Gemini is what Google's own client sends for the same conversation, to the same path."""

import base64
import json
import re
from typing import Any

import pytest
from google import genai
from google.genai import types

from mesh.clock import SystemClock
from services.provider.chat import Chat, Image, Message, Role, Text, Tool, ToolCall, ToolResult
from services.provider.remote.calling import Remote
from services.provider.target import Target
from tests.integration.remote_bench import Far, far_end

# Google's client inherits from aiohttp's, which that library warns of
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
MODEL = "gemini-2.5-flash"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "sun"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1},
}
DECLARATION = types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=SCHEMA)
WEATHER = Tool("get_weather", "Weather", SCHEMA)


def said(text: str) -> Message:
    """A user's words."""
    return Message(Role.USER, (Text(text),))


def theirs(text: str) -> types.Content:
    """The same for Google's client."""
    return types.Content(role="user", parts=[types.Part(text=text)])


PICTURE = types.Part.from_bytes(data=b"picture", mime_type="image/png")
CASES: dict[str, tuple[Chat, list[types.Content], types.GenerateContentConfig]] = {
    "settings": (
        Chat(
            (Message(Role.SYSTEM, (Text("Be brief."),)), said("hello")),
            temperature=0.5, top_p=0.9, top_k=40, max_output_tokens=100, stop=("END",), seed=7, presence_penalty=0.5,
            reasoning_tokens=1024,
        ),
        [theirs("hello")],
        types.GenerateContentConfig(
            system_instruction="Be brief.", temperature=0.5, top_p=0.9, top_k=40, max_output_tokens=100, stop_sequences=["END"],
            seed=7, presence_penalty=0.5, thinking_config=types.ThinkingConfig(thinking_budget=1024, include_thoughts=True),
        ),
    ),
    "tools": (
        Chat(
            (
                said("weather?"),
                Message(Role.ASSISTANT, (ToolCall("call_1", "get_weather", '{"city":"Paris"}'),)),
                Message(Role.TOOL, (ToolResult("call_1", "sun"),)),
            ),
            (WEATHER,), "=get_weather",
        ),
        [
            theirs("weather?"),
            types.Content(role="model", parts=[types.Part.from_function_call(name="get_weather", args={"city": "Paris"})]),
            types.Content(role="user", parts=[types.Part.from_function_response(name="get_weather", response={"result": "sun"})]),
        ],
        types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[DECLARATION])],
            tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_weather"])),
        ),
    ),
    "image": (
        Chat((Message(Role.USER, (Text("what?"), Image("image/png", base64.b64encode(b"picture").decode()))),)),
        [types.Content(role="user", parts=[types.Part(text="what?"), PICTURE])],
        types.GenerateContentConfig(),
    ),
    "schema": (
        Chat((said("hello"),), schema=SCHEMA),
        [theirs("hello")],
        types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stream", [False, True])
async def test_we_send_what_googles_client_sends(case: str, stream: bool) -> None:
    """Path, key header and body; whole and streamed."""
    chat, contents, config = CASES[case]

    async def handler(far: Far) -> None:
        body = json.dumps(ANSWER).encode()
        if stream:
            await far.answer(200, b"data: " + body + b"\n\n", "content-type: text/event-stream")
        else:
            await far.answer(200, body, "content-type: application/json")

    async with far_end(handler) as server, Remote(SystemClock()) as remote:
        options = types.HttpOptions(base_url=server.url, api_version="v1beta")
        client = genai.Client(api_key="the-key", http_options=options).aio
        target = Target("google", MODEL, "gemini", server.url, "the-key")
        if stream:
            async for _ in await client.models.generate_content_stream(model=MODEL, contents=list(contents), config=config):
                pass
            async for _ in remote.stream(target, chat):
                pass
        else:
            await client.models.generate_content(model=MODEL, contents=list(contents), config=config)
            await remote.complete(target, chat)
        await client.aclose()
    official, ours = server.seen
    assert ours.head.split("\r\n")[0] == official.head.split("\r\n")[0]
    assert "x-goog-api-key: the-key\r\n" in ours.head.lower()
    assert plain(json.loads(ours.body)) == plain(json.loads(official.body))


def plain(body: dict[str, Any]) -> Any:
    """A body without what means nothing: an empty configuration, and the role of a system instruction."""
    made = camel(body)
    made.get("systemInstruction", {}).pop("role", None)
    return {name: value for name, value in made.items() if value != {}}


def camel(value: Any) -> Any:
    """Names as the documentation has them: proto3 JSON takes snake_case, which Google's client writes here and there, as well."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_(.)", lambda match: match[1].upper(), name): camel(item) for name, item in value.items()}
