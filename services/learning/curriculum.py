"""The curriculum: domains, their skills and the exercises that train them, read from editable TOML texts."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

GENERIC = "generic"
TOPIC = "{topic}"
MAX_DOMAIN_LENGTH = 64


class CurriculumError(ValueError):
    """A curriculum text that cannot be used; the message says where and what to do."""


class Difficulty(IntEnum):
    """How hard an exercise is meant to be among those of its skill; numbers as in the contract."""

    EASY = 1
    MEDIUM = 2
    HARD = 3


@dataclass(frozen=True)
class Exercise:
    """Something to do: `id` is "domain.skill.name"; `rubric` says what a full answer holds."""

    id: str
    domain: str
    skill: str
    prompt: str
    rubric: str
    difficulty: Difficulty


@dataclass(frozen=True)
class Skill:
    """A part of a domain that is mastered as one."""

    id: str
    title: str
    exercises: tuple[Exercise, ...]


@dataclass(frozen=True)
class Domain:
    """A field of knowledge, also found under its aliases."""

    id: str
    title: str
    aliases: tuple[str, ...]
    skills: tuple[Skill, ...]

    @property
    def exercises(self) -> tuple[Exercise, ...]:
        """All exercises, in the order of the text."""
        return tuple(exercise for skill in self.skills for exercise in skill.exercises)

    def skill_title(self, skill_id: str) -> str:
        """The name of a skill for people; its id when the curriculum no longer has it."""
        return next((skill.title for skill in self.skills if skill.id == skill_id), skill_id)


def slug(topic: str) -> str:
    """The id of the domain that a topic stands for, e.g. "Machine  Learning" → "machine-learning"; at most 64 characters."""
    words = topic.casefold().replace("/", " ").replace("_", " ").split()
    return "-".join(words)[:MAX_DOMAIN_LENGTH].strip("-") or GENERIC


class Curriculum:
    """The domains by id and alias, and the generic one that any other topic is poured into."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        self.domains: dict[str, Domain] = {}
        self._names: dict[str, str] = {}
        for domain in domains:
            self._add(domain)
        if GENERIC not in self.domains:
            raise CurriculumError(f'no domain has id = "{GENERIC}"; any unknown focus area needs one')
        self._generic = self.domains.pop(GENERIC)

    def _add(self, domain: Domain) -> None:
        for name in (domain.id, *map(slug, domain.aliases)):
            if self._names.setdefault(name, domain.id) != domain.id:
                raise CurriculumError(f"{name!r} names both {self._names[name]!r} and {domain.id!r}")
        if domain.id in self.domains:
            raise CurriculumError(f"domain {domain.id!r} is given twice")
        self.domains[domain.id] = domain

    def resolve(self, topic: str) -> Domain:
        """The domain that a focus area (or a domain's id) stands for; a generic one about the topic when none is known."""
        name = slug(topic)
        known = self.domains.get(self._names.get(name, name))
        return known or _about(self._generic, name, topic)

    def names_of(self, domain_id: str) -> list[str]:
        """The ids under which a domain is or was trained: its own, and its aliases, which may have been topics before."""
        return [domain_id, *(name for name, known in self._names.items() if known == domain_id != name)]

    def domain(self, domain_id: str, topic: str) -> Domain:
        """The domain of that very id, though the id, or the topic it was made for, names another one by now."""
        return self.domains.get(domain_id) or _about(self._generic, domain_id, topic)

    def exercise(self, card_id: str) -> Exercise | None:
        """The exercise of an id, also a generic one of a topic that has got a domain, or become an alias, since."""
        parts = card_id.split(".")
        # a topic may have dots too, e.g. "node.js"
        names = [name for count in range(1, len(parts)) if slug(name := ".".join(parts[:count])) == name]
        domains = [domain for name in names for domain in (self.domain(name, name), _about(self._generic, name, name))]
        return next((exercise for domain in domains for exercise in domain.exercises if exercise.id == card_id), None)


def _about(generic: Domain, domain_id: str, topic: str) -> Domain:
    def fill(exercise: Exercise) -> Exercise:
        return Exercise(
            f"{domain_id}.{exercise.id.removeprefix(GENERIC + '.')}",
            domain_id,
            exercise.skill,
            exercise.prompt.replace(TOPIC, topic),
            exercise.rubric.replace(TOPIC, topic),
            exercise.difficulty,
        )

    skills = tuple(Skill(skill.id, skill.title, tuple(map(fill, skill.exercises))) for skill in generic.skills)
    return Domain(domain_id, topic, (), skills)


def parse(text: str, where: str) -> Domain:
    """Reads one domain from a TOML text; CurriculumError, naming `where`, for one that cannot be used."""
    try:
        domain = _domain(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise CurriculumError(f"{where}: {error!r}; compare it with the other files of the folder") from error
    _check(domain, where)
    return domain


def _domain(data: Mapping[str, Any]) -> Domain:
    domain = _text(data, "id")
    skills = tuple(_skill(domain, skill) for skill in data["skills"])
    return Domain(domain, _text(data, "title"), tuple(map(str, data.get("aliases", ()))), skills)


def _skill(domain: str, data: Mapping[str, Any]) -> Skill:
    skill = _text(data, "id")
    return Skill(skill, _text(data, "title"), tuple(_exercise(domain, skill, exercise) for exercise in data["exercises"]))


def _exercise(domain: str, skill: str, data: Mapping[str, Any]) -> Exercise:
    difficulty = Difficulty[_text(data, "difficulty").upper()]
    return Exercise(
        f"{domain}.{skill}.{_text(data, 'id')}", domain, skill, _text(data, "prompt"), _text(data, "rubric"), difficulty
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    text = data[key]
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"{key} must be a text")
    return text.strip()


def _check(domain: Domain, where: str) -> None:
    if slug(domain.id) != domain.id:
        raise CurriculumError(f"{where}: id {domain.id!r} should be written {slug(domain.id)!r}")
    ids = [exercise.id for exercise in domain.exercises]
    if not ids or any(not skill.exercises for skill in domain.skills):
        raise CurriculumError(f"{where}: every domain needs a skill, and every skill an exercise")
    if len(set(ids)) != len(ids):
        raise CurriculumError(f"{where}: an exercise id is given twice")
