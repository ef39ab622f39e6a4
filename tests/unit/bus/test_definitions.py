"""What a caller leaves open or asks too much of is what the settings say."""

from google.protobuf.duration_pb2 import Duration

from bus.definitions import silence_of
from bus.settings import BusSettings


def test_a_stream_may_ask_for_any_silence_but_the_shortest() -> None:
    """A sign of life each microsecond would keep the bus busy with nothing else."""
    settings = BusSettings()
    assert silence_of(Duration(), settings) == settings.heartbeat.total_seconds()
    assert silence_of(Duration(seconds=300), settings) == 300.0
    assert silence_of(Duration(nanos=50_000_000), settings) == 0.05
    for nanos in (1, 1000):
        assert silence_of(Duration(nanos=nanos), settings) == settings.shortest_heartbeat.total_seconds()
