"""A lease: the right to be the only one at a piece of work, for a while; whoever renews or ends it shows that it is still his."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Lease:
    """Whose it is, when it began, and when it ends unless it is renewed."""

    owner: str
    begin: datetime
    until: datetime

    @property
    def latest(self) -> datetime:
        """When one that is being renewed ends at most; a later end is of a clock that has been set back since."""
        return self.until + (self.until - self.begin)
