"""Slots: values that a text names, found by rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestration import slots


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I want to practice Python for 30 minutes", {"focusArea": "python", "duration": "1800s"}),
        ("three rounds of system design", {"focusArea": "system design", "count": 3}),
        ("half an hour of rust", {"focusArea": "rust", "duration": "1800s"}),
        ("sync octocat/hello-world from github", {"repository": {"owner": "octocat", "name": "hello-world"}, "provider": "github"}),
        ("import the repo python/cpython.", {"repository": {"owner": "python", "name": "cpython"}}),
        ("log a spend of $0.45", {"amount": {"currencyCode": "USD", "units": "0", "nanos": 450_000_000}}),
        ("we paid 12 euros to OpenAI", {"amount": {"currencyCode": "EUR", "units": "12", "nanos": 0}, "provider": "openai"}),
        ('post "deploy done" to #Dev-Ops', {"quoted": "deploy done", "channel": "dev-ops"}),
        ("remind me every day at 7 to review", {"time": "07:00", "days": ["daily"]}),
        ("schedule it for Friday at 9:30 pm", {"time": "21:30", "days": ["friday"]}),
        ("at noon", {"time": "12:00"}),
        ("at 9, please", {"time": "09:00"}),
        ("train me for 3 rounds", {"count": 3}),
        ("for 3 minutes", {"duration": "180s"}),
        ("for 5 dollars", {"amount": {"currencyCode": "USD", "units": "5", "nanos": 0}}),
        ("a budget of $1,000 a month", {"amount": {"currencyCode": "USD", "units": "1000", "nanos": 0}}),
        ("it cost 2,500.50 euros", {"amount": {"currencyCode": "EUR", "units": "2500", "nanos": 500_000_000}}),
        ("quiz me with 1,000 questions", {"count": 1000}),
        ("remind me in 2 weeks", {"duration": "1209600s"}),
        ("give me 1.5 seconds", {"duration": "1.5s"}),
        ("tell @ada.l about it", {"user": "ada.l"}),
        ("every 2 hours", {"duration": "7200s"}),
        ("ten machine learning questions", {"focusArea": "machine learning"}),
        ("analyze /home/ada/app", {}),
        ("what is the capital of australia", {}),
    ],
)
def test_slots_of_a_text(text: str, found: dict[str, Any]) -> None:
    """Each rule finds its value, as proto3 JSON writes it, and nothing else is made up."""
    assert slots.find(text) == found


@given(st.text(max_size=300))
def test_any_text_has_slots_or_none(text: str) -> None:
    """No text breaks the rules; what is found is JSON with the slots that are documented."""
    assert set(slots.find(text)) <= set(slots._RULES)
