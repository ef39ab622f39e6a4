"""Requests: options, field=value and JSON build the same message, for every RPC of the contracts."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format

from mesh.cli import requests, schema, values
from mesh.cli.console import Code, Console, Failure
from mesh.cli.schema import Rpc
from mesh.cli.verbs import FieldOption, VerbCommand, collect

SCHEMA = schema.load()
UUID = "01a215ae-9a65-717e-ba32-c1cabdd50a2c"
_ROUNDS = 3


def sample(dice: random.Random, option: FieldOption) -> tuple[str, Any]:
    """What could be typed for an option, and what proto3 JSON has for it."""
    field = option.field
    if values.is_map(field):
        text, value = _of_kind(dice, values.kind(values.map_value(field)), values.map_value(field))
        return f"k={text}", {"k": value}
    return _of_kind(dice, values.kind(field), field)


def _of_kind(dice: random.Random, kind: str, field: Any) -> tuple[str, Any]:
    number, text = dice.randrange(1, 100), dice.choice(["a b", "x=1", "{}", "Ünï", "true", "7"])
    if kind == "choice":
        short, name = dice.choice(sorted(values.choices(field.enum_type).items()))
        return dice.choice([short, name, short.upper()]), name
    return {
        "text": (text, text),
        "boolean": ("true", True),
        "integer": (str(number), number),
        "number": (f"{number}.5", number + 0.5),
        "bytes": (text, base64.b64encode(text.encode()).decode()),
        "time": ("2026-11-26T08:00:00Z", "2026-11-26T08:00:00Z"),
        "duration": (f"{number}s", f"{number}s"),
        "names": ("a,b", "a,b"),
        "money": (f"{number}.25 USD", {"currencyCode": "USD", "units": str(number), "nanos": 250_000_000}),
        "json": ("{}", {}),
    }[kind]


def chosen(dice: random.Random, command: VerbCommand) -> list[FieldOption]:
    """Some of the options of a verb: of a oneof one member at most, and no whole message beside its own fields."""
    found: list[FieldOption] = []
    members: dict[tuple[object, ...], str] = {}
    for option in dice.sample(command.fields, k=len(command.fields)):
        picked = dict(_members(command.rpc, option))
        clash = any(members.get(oneof, member) != member for oneof, member in picked.items())
        if not (clash or values.is_nested(option.field)) and dice.getrandbits(1):
            found.append(option)
            members |= picked
    return found


def _members(rpc: Rpc, option: FieldOption) -> Iterator[tuple[tuple[object, ...], str]]:
    """Which member of which oneof an option sets, on the way down to its field."""
    message = rpc.request
    for depth, name in enumerate(option.path):
        field = message.fields_by_name[name]
        if field.containing_oneof:
            yield (*option.path[:depth], field.containing_oneof.full_name), name
        message = field.message_type or message


@pytest.mark.parametrize("name", sorted(SCHEMA.rpcs))
def test_options_build_what_json_builds(name: str) -> None:
    """Random options of every RPC against the same request as JSON, and against field=value where that can say it."""
    rpc = SCHEMA.rpcs[name]
    command = VerbCommand("verb", rpc)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(_ROUNDS):
        arguments: list[str] = []
        words: list[str] = []
        wanted: dict[str, Any] = {}
        for option in chosen(dice, command):
            text, value = sample(dice, option)
            arguments += _typed(option, value, text)
            words.append(f"{'.'.join(option.path)}={text}")
            place = wanted
            for part in _json_path(rpc, option)[:-1]:
                place = place.setdefault(part, {})
            place[option.field.json_name] = [value] if option.field.is_repeated and not values.is_map(option.field) else value
        expected = json_format.ParseDict(wanted, SCHEMA.new(rpc.request), descriptor_pool=SCHEMA.pool)
        with command.make_context("verb", arguments, obj=Console()) as context:
            by_options = requests.of_message(SCHEMA, rpc.request, (), collect(command.fields, context.params))
        assert by_options == expected
        assert requests.of_message(SCHEMA, rpc.request, words) == expected
        assert requests.of_message(SCHEMA, rpc.request, [json.dumps(wanted)]) == expected


def _typed(option: FieldOption, value: Any, text: str) -> list[str]:
    switch = option.secondary_opts
    return [option.opts[0]] if switch and value is True else [option.opts[0], text]


def _json_path(rpc: Rpc, option: FieldOption) -> list[str]:
    message, found = rpc.request, []
    for name in option.path:
        field = message.fields_by_name[name]
        found.append(field.json_name)
        message = field.message_type or message
    return found


def test_a_request_id_is_made_where_none_is_given() -> None:
    """A write that is tried again by hand with the id it printed changes nothing; one without an id gets a new one each time."""
    rpc = SCHEMA.rpcs["tooloo.learning.v1.LearningService/StartTraining"]
    first, second = (requests.build(SCHEMA, rpc, ["user_id=ada"]) for _ in range(2))
    given = requests.build(SCHEMA, rpc, ["user_id=ada", f"requestId={UUID}"])
    assert first.request_id != second.request_id  # type: ignore[attr-defined] # a message of the pool
    assert given.request_id == UUID  # type: ignore[attr-defined] # the same


def test_words_without_a_name_are_what_the_path_names() -> None:
    """In the order of the path, wherever they stand among the others; one too many is no field."""
    rpc = SCHEMA.rpcs["tooloo.bus.v1.EventBus/GetDeadLetter"]
    request: Any = requests.build(SCHEMA, rpc, ["learning", "7"])
    assert (request.subscription, request.position) == ("learning", 7)
    with pytest.raises(Failure, match="no field=value"):
        requests.build(SCHEMA, rpc, ["learning", "7", "8"])


def test_later_words_win() -> None:
    """A file of defaults, then what differs."""
    rpc = SCHEMA.rpcs["tooloo.learning.v1.LearningService/StartTraining"]
    request = requests.build(SCHEMA, rpc, ['{"userId": "ada", "roundCount": 3}', "round_count=5"], {"user_id": "bob"})
    assert (request.user_id, request.round_count) == ("bob", 5)  # type: ignore[attr-defined] # a message of the pool


def test_inside_open_json_there_are_no_types() -> None:
    """A Struct takes numbers as numbers and the rest as text."""
    fields: dict[str, Any] = {}
    message = SCHEMA.pool.FindMessageTypeByName("tooloo.system.v1.LogRecord")
    requests.put(message, fields, "fields.a.b", "1")
    requests.put(message, fields, "fields.a.c", "one")
    assert fields == {"fields": {"a": {"b": 1, "c": "one"}}}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("user", "no field=value"),
        ("usr_id=ada", "did you mean user_id"),
        ("round_count=three", "not a whole number"),
        ("{", "not JSON"),
        ("[]", "no field=value"),
        ('{"nope": 1}', "nope"),
        ("@/nowhere/request.json", "cannot be read"),
    ],
)
def test_what_is_no_request(word: str, said: str) -> None:
    """A word that does not fit is wrong usage, and the failure says what would be right."""
    rpc = SCHEMA.rpcs["tooloo.learning.v1.LearningService/StartTraining"]
    with pytest.raises(Failure, match=said) as caught:
        requests.build(SCHEMA, rpc, [word])
    assert caught.value.exit_code == Code.USAGE
