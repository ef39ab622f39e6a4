"""The curriculum: the shipped files are whole, any topic finds a domain, and a wrong file is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learning.curriculum import MAX_DOMAIN_LENGTH, Curriculum, CurriculumError, Difficulty, parse, slug
from services.learning.settings import LearningSettings, read_curriculum

SHIPPED = read_curriculum(LearningSettings().curriculum_folder)
ONE = """
id = "{id}"
title = "T"
aliases = [{aliases}]
[[skills]]
id = "s"
title = "S"
[[skills.exercises]]
id = "e"
difficulty = "{difficulty}"
prompt = "About {{topic}}"
rubric = "R"
"""


def text(name: str = "generic", aliases: str = "", difficulty: str = "easy") -> str:
    """A curriculum text of one exercise."""
    return ONE.format(id=name, aliases=aliases, difficulty=difficulty)


def test_the_shipped_domains_are_real() -> None:
    """Eight domains with at least ten exercises each, in several skills and all difficulties, none asked twice."""
    assert len(SHIPPED.domains) >= 8
    for domain in SHIPPED.domains.values():
        assert len(domain.exercises) >= 10
        assert len(domain.skills) >= 3
        assert {exercise.difficulty for exercise in domain.exercises} == set(Difficulty)
        prompts = [exercise.prompt for exercise in domain.exercises]
        assert len(set(prompts)) == len(prompts)
        assert all(exercise.rubric for exercise in domain.exercises)


@pytest.mark.parametrize(
    ("focus", "domain"),
    [
        ("python", "python"),
        ("Python", "python"),
        ("PY", "python"),
        ("Distributed  Systems", "distributed-systems"),
        ("distributed_systems", "distributed-systems"),
        ("Technical Writing", "writing"),
        ("data structures", "algorithms"),
    ],
)
def test_known_focus_areas(focus: str, domain: str) -> None:
    """Case, spaces and aliases lead to the same domain."""
    assert SHIPPED.resolve(focus).id == domain


@given(st.text(min_size=1, max_size=64))
def test_any_focus_area_resolves(focus: str) -> None:
    """Every topic has exercises, its own ids, and its domain's id leads to the same domain again."""
    domain = SHIPPED.resolve(focus)
    assert len(domain.exercises) >= 10
    assert 0 < len(domain.id) <= MAX_DOMAIN_LENGTH
    assert "/" not in domain.id
    assert all(exercise.id.startswith(f"{domain.id}.") for exercise in domain.exercises)
    again = SHIPPED.resolve(domain.id)
    assert [exercise.id for exercise in again.exercises] == [exercise.id for exercise in domain.exercises]


def test_a_generic_domain_speaks_of_the_topic() -> None:
    """Its prompts name the topic as it was asked for."""
    domain = SHIPPED.resolve("Bee Keeping")
    assert domain.title == "Bee Keeping"
    assert sum("Bee Keeping" in exercise.prompt for exercise in domain.exercises) >= 10
    assert not any("{topic}" in exercise.prompt + exercise.rubric for exercise in domain.exercises)


def test_slug_of_a_topic() -> None:
    """Words joined by hyphens, in one case; never empty."""
    assert slug("  Machine/Learning  Basics ") == "machine-learning-basics"
    assert slug("---") == "generic"


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("id = ", "x.toml"),
        ('id = "a"\ntitle = "A"', "skills"),
        ('id = "a"\ntitle = "A"\nskills = []', "every domain needs a skill"),
        (text(difficulty="impossible"), "IMPOSSIBLE"),
        (text("Not A Slug"), "should be written 'not-a-slug'"),
        (text().replace('"T"', "3"), "title"),
        (text().replace('"R"', '" "'), "rubric"),
        ("skills = 3\nid = 'a'\ntitle = 'A'", "x.toml"),
    ],
)
def test_a_broken_file_is_named(broken: str, says: str) -> None:
    """An editor learns which file is wrong and how."""
    with pytest.raises(CurriculumError, match=r"x\.toml") as error:
        parse(broken, "x.toml")
    assert says in str(error.value)


def test_an_exercise_given_twice_is_refused() -> None:
    """Ids are what cards hang on, so they are unique."""
    twice = text() + text().split('title = "S"\n', 1)[1]
    with pytest.raises(CurriculumError, match="given twice"):
        parse(twice, "x.toml")


def test_domains_must_not_share_names() -> None:
    """A focus area leads to one domain."""
    generic = parse(text(), "generic.toml")
    one, other = parse(text("a", '"common"'), "a.toml"), parse(text("b", '"common"'), "b.toml")
    with pytest.raises(CurriculumError, match="common"):
        Curriculum([generic, one, other])
    with pytest.raises(CurriculumError, match="given twice"):
        Curriculum([generic, one, one])


def test_a_folder_without_the_generic_domain_is_refused(tmp_path: Path) -> None:
    """Without it, an unknown focus area would have nothing to ask."""
    (tmp_path / "a.toml").write_text(text("a"))
    with pytest.raises(CurriculumError, match="generic"):
        read_curriculum(tmp_path)


def test_an_edited_folder_is_used(tmp_path: Path) -> None:
    """The curriculum is data: another folder gives other exercises."""
    (tmp_path / "generic.toml").write_text(text())
    (tmp_path / "cooking.toml").write_text(text("cooking", '"chef"'))
    assert read_curriculum(tmp_path).resolve("Chef").exercises[0].id == "cooking.s.e"


def test_skill_titles() -> None:
    """A skill that the curriculum no longer has is called by its id."""
    python = SHIPPED.resolve("python")
    assert python.skill_title("iteration") == "Iteration and comprehensions"
    assert python.skill_title("gone") == "gone"
