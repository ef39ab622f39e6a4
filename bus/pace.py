"""Where to commit: in the loop's own thread while that takes no time, else in the writer's, so that a slow disk blocks nobody."""

# the newest commit's share of the moving average (RFC 6298 uses the same for round trips)
_NEWEST = 0.125
# a way back only well below the limit, or a disk near it would be changed between for ever
_BACK = 0.7


class Pace:
    """Decides from how long commits took. Times in seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.inline = limit > 0
        self.average = 0.0

    def took(self, seconds: float) -> None:
        """A commit took so long."""
        self.average += (seconds - self.average) * _NEWEST if self.average else seconds
        if self.inline:
            # one commit that took ten times the limit is reason enough
            self.inline = self.average < self._limit and seconds < 10 * self._limit
        else:
            self.inline = self.average < self._limit * _BACK
