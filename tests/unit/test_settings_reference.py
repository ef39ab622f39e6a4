"""Every setting is documented, and the reference says what the code says."""

from pathlib import Path

from gateway.reference import reference, sections

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_declarations_say() -> None:
    """docs/settings.md is made from the code; after a change: python -m gateway.reference docs/settings.md."""
    assert (ROOT / "docs" / "settings.md").read_text() == reference()


def test_the_reference_names_no_folder_of_this_machine() -> None:
    """Defaults inside the checkout are shown as seen from it."""
    assert str(ROOT) not in reference()


def test_every_setting_has_a_sentence_and_its_own_name() -> None:
    """No setting without a meaning, and no environment variable with two."""
    rows = [row for section in sections() for row in section.documented()]
    assert len(rows) > 50
    assert all(row.doc.endswith(".") for row in rows)
    names = [row.env for row in rows]
    assert len(names) == len(set(names))
