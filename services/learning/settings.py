"""Settings of the learning service."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mesh.settings import CHECKOUT, Section, setting, usable
from services.learning.curriculum import Curriculum, parse
from services.learning.zones import zone_of


@dataclass(frozen=True)
class LearningSettings(Section):
    """What can be chosen about training."""

    section: ClassVar[str] = "learning"

    curriculum_folder: Path = setting(
        Path("services/learning/curriculum"), "Folder of the curriculum, one TOML file a domain; relative to the checkout."
    )
    default_rounds: int = setting(5, "Rounds of a session that does not say how many.", low=1, high=50)
    max_open_sessions: int = setting(100, "Sessions that a user may have open at a time.", low=1, high=10_000)
    desired_retention: float = setting(0.9, "Probability of recall at which a card comes due (FSRS).", low=0.7, high=0.97)
    time_zone: str = setting("UTC", "IANA time zone in which the days of a streak are counted, unless the call names another.")
    streak_window: timedelta = setting(timedelta(days=3660), "How far back streaks are counted.")
    overview_items: int = setting(10, "Sessions and rounds that an overview shows of each kind.", low=1, high=100)
    overview_domains: int = setting(100, "Domains, and provider entries, that an overview shows at most.", low=1, high=1000)
    forecast_cards: int = setting(1000, "Cards that a forecast of the workload follows, those due first.", low=1, high=100_000)
    curve_reviews: int = setting(1000, "Reviews of a card that its forgetting curve shows, the newest.", low=1, high=100_000)
    provider_credit: timedelta = setting(
        timedelta(days=1), "How long after a provider was selected for a domain the scores of that domain are counted to it.", low=0
    )

    def check(self) -> None:
        """SettingError for a time zone that there is not, and a curriculum that cannot be used."""
        with usable(self.env_name("time_zone")):
            zone_of(self.time_zone)
        _ = self.curriculum

    @cached_property
    def curriculum(self) -> Curriculum:
        """The curriculum of the folder; read once, for that takes a while."""
        with usable(self.env_name("curriculum_folder"), self.curriculum_folder):
            return read_curriculum(self.curriculum_folder)


def read_curriculum(folder: Path) -> Curriculum:
    """The curriculum of a folder of TOML files; a relative one is looked for in the checkout."""
    files = sorted((CHECKOUT / folder).glob("*.toml"))
    return Curriculum(parse(file.read_text(encoding="utf-8"), file.name) for file in files)
