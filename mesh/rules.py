"""protovalidate rules as JSON Schema keywords, as far as JSON Schema can say them; what it cannot is left to the service."""

import re
from decimal import Decimal
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import duration_pb2
from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

Schema = dict[str, Any]
_FORMATS = {"email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6", "uri": "uri", "uuid": "uuid"}
_NANOS = 9
_DAY = r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"


def of_field(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The rules of a field; empty ones when it has none."""
    options = field.GetOptions()
    rules: validate_pb2.FieldRules = options.Extensions[validate_pb2.field]
    return rules


def kind(rules: validate_pb2.FieldRules) -> Message | None:
    """The rules of the field's own type, e.g. StringRules; None when there are none."""
    name = rules.WhichOneof("type")
    return getattr(rules, name) if name else None


def required(field: FieldDescriptor) -> bool:
    """True when a request without the field is refused: it is required, or its zero value breaks a rule."""
    rules = of_field(field)
    if rules.required:
        return True
    unchecked = rules.ignore in (validate_pb2.IGNORE_IF_ZERO_VALUE, validate_pb2.IGNORE_ALWAYS)
    if unchecked or field.has_presence or (own := kind(rules)) is None:
        return False
    return _refuses_zero(field, own)


def one_required(oneof: OneofDescriptor) -> bool:
    """True when a request must choose one of these fields."""
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def _refuses_zero(field: FieldDescriptor, own: Message) -> bool:
    given = {name.name: value for name, value in own.ListFields()}
    if field.is_repeated:
        return bool(given.get("min_items", 0) or given.get("min_pairs", 0))
    if isinstance(own, validate_pb2.StringRules):
        lengths = given.get("min_len", 0) or given.get("len", 0) or given.get("min_bytes", 0)
        return bool(lengths or own.WhichOneof("well_known") or ("pattern" in given and not re.search(given["pattern"], "")))
    if isinstance(own, validate_pb2.EnumRules):
        return 0 in own.not_in or bool(getattr(own, "in") and 0 not in getattr(own, "in"))
    return _number_refuses_zero(given)


def _number_refuses_zero(given: dict[str, Any]) -> bool:
    too_low = ("gt" in given and given["gt"] >= 0) or given.get("gte", 0) > 0
    too_high = ("lt" in given and given["lt"] <= 0) or given.get("lte", 0) < 0
    return bool(too_low or too_high or 0 in given.get("not_in", ()) or ("in" in given and 0 not in given["in"]))


def keywords(own: Message | None) -> Schema:
    """Keywords for a single value of the rules' type."""
    if own is None:
        return {}
    given = {field.name: value for field, value in own.ListFields()}
    if isinstance(own, validate_pb2.StringRules):
        return _string(own, given)
    if isinstance(own, validate_pb2.DurationRules):
        return _duration(given)
    if isinstance(own, validate_pb2.TimestampRules):
        return _timestamp(given)
    if isinstance(own, validate_pb2.BytesRules | validate_pb2.EnumRules | validate_pb2.AnyRules):
        return {}
    return _number(given)


def sizes(own: validate_pb2.RepeatedRules | validate_pb2.MapRules) -> Schema:
    """Keywords for how many items or pairs there may be."""
    names = {
        "min_items": "minItems",
        "max_items": "maxItems",
        "unique": "uniqueItems",
        "min_pairs": "minProperties",
        "max_pairs": "maxProperties",
    }
    return {names[field.name]: value for field, value in own.ListFields() if field.name in names}


def _string(own: validate_pb2.StringRules, given: dict[str, Any]) -> Schema:
    schema: Schema = {}
    for rule, keyword in (("min_len", "minLength"), ("max_len", "maxLength"), ("pattern", "pattern"), ("const", "const")):
        if rule in given:
            schema[keyword] = given[rule]
    if "len" in given:
        schema |= {"minLength": given["len"], "maxLength": given["len"]}
    if "max_bytes" in given and "maxLength" not in schema:
        schema["maxLength"] = given["max_bytes"]
    if "in" in given:
        schema["enum"] = list(given["in"])
    if (format_name := _FORMATS.get(own.WhichOneof("well_known") or "")) is not None:
        schema["format"] = format_name
    return schema


def _number(given: dict[str, Any]) -> Schema:
    names = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum", "const": "const"}
    schema: Schema = {keyword: given[rule] for rule, keyword in names.items() if rule in given}
    if "in" in given:
        schema["enum"] = list(given["in"])
    return schema


def _duration(given: dict[str, Any]) -> Schema:
    """A pattern for seconds with up to nine decimals, exact to the second at the upper bound."""
    low, high = given.get("gte", given.get("gt")), given.get("lte", given.get("lt"))
    sign = "-?" if low is None or _seconds(low) < 0 else ""
    if high is None:
        return {"pattern": rf"^{sign}[0-9]{{1,12}}(\.[0-9]{{1,9}})?s$"}
    most = int(_seconds(high))
    if most == 0:
        return {"pattern": r"^0(\.0{1,9})?s$"}
    return {"pattern": rf"^{sign}(({below(most)})(\.[0-9]{{1,9}})?|{most})s$"}


def _timestamp(given: dict[str, Any]) -> Schema:
    """A pattern for RFC 3339 whose years are within the bounds, when these are the starts of decades; else nothing.

    An offset from UTC can still carry a time over a bound; that is left to the service.
    """
    low, high = given.get("gte"), given.get("lt")
    if low is None or high is None:
        return {}
    first, end = low.ToDatetime(), high.ToDatetime()
    if (first.year % 10, first.month, first.day) != (0, 1, 1) or (end.year % 10, end.month, end.day) != (0, 1, 1):
        return {}
    decades = "|".join(str(decade) for decade in range(first.year // 10, end.year // 10))
    return {"pattern": rf"^({decades})[0-9]-{_DAY}T{_TIME}$"}


def _seconds(value: duration_pb2.Duration) -> Decimal:
    return Decimal(value.seconds) + Decimal(value.nanos).scaleb(-_NANOS)


def below(limit: int) -> str:
    """A regular expression for the whole numbers from 0 to limit - 1, without leading zeros; limit is at least 1."""
    digits = str(limit)
    branches = ["0"]
    branches += [f"[1-9][0-9]{{{length - 1}}}" for length in range(1, len(digits))]
    for place, digit in enumerate(digits):
        lowest = 1 if place == 0 else 0
        if int(digit) > lowest:
            rest = f"[0-9]{{{len(digits) - place - 1}}}"
            branches.append(f"{digits[:place]}[{lowest}-{int(digit) - 1}]{rest}")
    return "|".join(branches)
