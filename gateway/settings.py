"""Settings of the process manager's own service: what it looks at, how often, and how much it keeps and reads."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from mesh.settings import Section, setting

MIB = 1024 * 1024


@dataclass(frozen=True)
class SystemSettings(Section):
    """What the process manager shows of traffic and logs, and how much that may cost."""

    section: ClassVar[str] = "system"

    traffic_interval: timedelta = setting(
        timedelta(seconds=1), "Time between two samples of Envoy's statistics while somebody watches the traffic."
    )
    traffic_length: timedelta = setting(timedelta(minutes=5), "How far back samples of the traffic are kept.")
    traffic_linger: timedelta = setting(
        timedelta(seconds=30), "How long samples are taken after the last question for the traffic; then nothing is done.", low=0
    )
    seen_interval: timedelta = setting(
        timedelta(seconds=1),
        "How often is noted that the processes still serve: from then on they count as down when a power cut or a kill ends all.",
    )
    access_log_bytes: int = setting(64 * MIB, "Size at which the access log is renamed and a new one begun.", low=64 * 1024)
    access_log_files: int = setting(3, "Renamed access logs that are kept.", low=1, high=100)
    log_read_bytes: int = setting(
        8 * MIB, "Most bytes of log files that one page of ReadLogs looks through; the next page goes on.", low=64 * 1024
    )
    log_line_bytes: int = setting(64 * 1024, "Longest log line; what is longer is cut.", low=1024)
    log_poll: timedelta = setting(timedelta(milliseconds=250), "How often FollowLogs looks whether log files have grown.")
    log_heartbeat: timedelta = setting(timedelta(seconds=10), "Longest silence of FollowLogs.")
    log_queue: int = setting(
        5000, "Lines that may wait for a follower that reads slowly; when there are more, the oldest are left out.", low=100
    )
