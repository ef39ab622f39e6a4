"""Values named in a text, found by rules: subject, count, duration, time, repository, amount and the like."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Slots = dict[str, Any]

_SUBJECTS = (
    *("python", "rust", "sql", "javascript", "typescript", "java", "go", "git", "docker", "kubernetes", "algorithms", "statistics"),
    *("networking", "testing", "debugging", "databases", "concurrency", "security", "algebra", "french", "spanish", "german"),
)
_PHRASES = (
    "system design",
    "machine learning",
    "data structures",
    "regular expressions",
    "operating systems",
    "functional programming",
    "graph theory",
    "linear algebra",
)
_SUBJECT = re.compile(rf"(?<![\w/])({'|'.join((*_PHRASES, *_SUBJECTS))})(?![\w/])", re.IGNORECASE)
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "half an": 0.5,
}  # fmt: skip
# "1,000" is a thousand, not a one and a nought
_THOUSANDS = r"\d{1,3}(?:,\d{3}){1,2}(?!\d)"
_NUMBER = rf"{_THOUSANDS}|\d{{1,6}}(?:\.\d{{1,3}})?|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))}"
_COUNTED = r"(?:rounds?|cards?|questions?|exercises?|times)"
_COUNT = re.compile(rf"\b({_NUMBER}) (?:\w+ )?{_COUNTED}\b", re.IGNORECASE)
_UNITS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 604800}
_DURATION = re.compile(rf"\b({_NUMBER})[ -]?({'|'.join(_UNITS)})s?\b", re.IGNORECASE)
# a bare number is an hour only when it does not count something: "at 3", but not "for 3 rounds" or "by 5 minutes"
_COUNTABLE = rf"{_COUNTED}|(?:{'|'.join(_UNITS)}|dollar|euro|pound)s?|usd|eur|gbp|percent"
_NO_HOUR = rf"(?![.,]?\d| ?[%$€£]|[ -]?(?:\w+ )?(?:{_COUNTABLE})\b)"
_CLOCK = re.compile(
    rf"\b(?:at|by|for|until) (\d{{1,2}})(?::(\d{{2}}))?(?: ?(am|pm))?\b{_NO_HOUR}"
    r"|\b(\d{1,2}):(\d{2}) ?(am|pm)?\b|\b(\d{1,2}) ?(am|pm)\b",
    re.IGNORECASE,
)
_NAMED_TIMES = {"noon": "12:00", "midday": "12:00", "midnight": "00:00"}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY = re.compile(rf"\b({'|'.join(_WEEKDAYS)}|weekday|weekend|today|tomorrow|daily|weekly|monthly|every day)s?\b", re.IGNORECASE)
_REPOSITORY = re.compile(r"(?<![\w/.~-])([A-Za-z0-9][A-Za-z0-9-]{0,38})/([A-Za-z0-9._-]{1,100}?)(?=[\s,;:!?)]|\.?$|\.\s)")
_CURRENCIES = {
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "dollar": "USD",
    "usd": "USD",
    "euro": "EUR",
    "eur": "EUR",
    "pound": "GBP",
    "gbp": "GBP",
}
_AMOUNT = re.compile(
    rf"([$€£]) ?({_THOUSANDS}|\d{{1,9}})(?:\.(\d{{1,9}}))?"
    rf"|\b({_THOUSANDS}|\d{{1,9}})(?:\.(\d{{1,9}}))? ?([$€£]|(?:dollar|usd|euro|eur|pound|gbp)s?\b)",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"(?<!\S)#([a-z0-9][a-z0-9_-]{0,79})", re.IGNORECASE)
_PROVIDER = re.compile(r"\b(github|gitlab|google|slack|notion|openai|anthropic|mistral|gemini|groq|ollama)\b", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]{1,500})"|“([^”]{1,500})”')
_USER = re.compile(r"(?<!\S)@([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_NOON, _LAST_HOUR, _LAST_MINUTE = 12, 23, 59


def _number(text: str) -> float:
    return _NUMBERS[text.lower()] if text.lower() in _NUMBERS else float(text.replace(",", ""))


def _focus_area(text: str) -> str | None:
    match = _SUBJECT.search(text)
    return match[1].lower() if match else None


def _count(text: str) -> int | None:
    match = _COUNT.search(text)
    return int(_number(match[1])) if match else None


def _duration(text: str) -> str | None:
    """As proto3 JSON writes a Duration, e.g. "1800s"."""
    match = _DURATION.search(text)
    if not match:
        return None
    seconds = f"{_number(match[1]) * _UNITS[match[2].lower()]:.3f}"
    return f"{seconds.rstrip('0').rstrip('.')}s"


def _time(text: str) -> str | None:
    """Time of day as "HH:MM", 24 hours."""
    for match in _CLOCK.finditer(text):
        hour, minute, half = match[1] or match[4] or match[7], match[2] or match[5] or "0", match[3] or match[6] or match[8]
        value = int(hour) % _NOON + (_NOON if half.lower() == "pm" else 0) if half else int(hour)
        if value <= _LAST_HOUR and int(minute) <= _LAST_MINUTE:
            return f"{value:02d}:{int(minute):02d}"
    return next((clock for name, clock in _NAMED_TIMES.items() if re.search(rf"\b{name}\b", text, re.IGNORECASE)), None)


def _days(text: str) -> list[str] | None:
    found = list(dict.fromkeys(match[1].lower().replace("every day", "daily") for match in _DAY.finditer(text)))
    return found or None


def _repository(text: str) -> dict[str, str] | None:
    match = _REPOSITORY.search(text)
    return {"owner": match[1], "name": match[2].rstrip(".")} if match else None


def _amount(text: str) -> dict[str, Any] | None:
    """As proto3 JSON writes a google.type.Money: whole units as text, the rest in billionths."""
    match = _AMOUNT.search(text)
    if not match:
        return None
    mark, units, fraction = (match[1], match[2], match[3]) if match[1] else (match[6], match[4], match[5])
    currency = _CURRENCIES[mark.lower().removesuffix("s") if len(mark) > 1 else mark]
    return {"currencyCode": currency, "units": str(int(units.replace(",", ""))), "nanos": int((fraction or "0").ljust(9, "0"))}


def _first_group(pattern: re.Pattern[str], fold: bool = False) -> Callable[[str], str | None]:
    def find(text: str) -> str | None:
        match = pattern.search(text)
        if not match:
            return None
        value = next(group for group in match.groups() if group is not None)
        return value.lower() if fold else value

    return find


_RULES: Mapping[str, Callable[[str], Any]] = {
    "focusArea": _focus_area,
    "count": _count,
    "duration": _duration,
    "time": _time,
    "days": _days,
    "repository": _repository,
    "amount": _amount,
    "channel": _first_group(_CHANNEL, fold=True),
    "provider": _first_group(_PROVIDER, fold=True),
    "quoted": _first_group(_QUOTED),
    "user": _first_group(_USER),
}


def find(text: str) -> Slots:
    """The values that the text names, by slot; a slot the text does not fill is absent. Values are JSON."""
    return {name: value for name, rule in _RULES.items() if (value := rule(text)) is not None}
