"""What a person at the terminal is told: what becomes ready, what dies, where the mesh is and one call to try."""

import sys

from mesh.catalogue import SERVICES
from mesh.child import Child, State
from mesh.settings import MeshSettings

_WELCOME = """
The mesh is ready after {seconds:.1f} s. Ctrl-C stops it.

  open    {url}/          what runs, and the live event stream
          {url}/docs      every call
          {url}/health    health of the whole mesh
  data    {data}
  try     curl -X POST {url}/api/v1/training/start -d '{{"userId":"ada","focusArea":"python","roundCount":3}}'
"""


class Terminal:
    """Listens to the supervisor and says it in one line each."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._titles = {spec.name: spec.title for spec in SERVICES}

    def process_changed(self, child: Child) -> None:
        """One line for each process that becomes ready or dies."""
        service = child.program.service
        if child.state is State.SERVING:
            port = self._settings.port_of(service) if service in self._titles else self._settings.door_port
            self.ready(self._titles.get(service, "Door (Envoy)"), port)
        elif child.state is State.CRASHED:
            say(f"✗ {child.name} ended ({child.last_exit}); it starts again. Its log: {child.log_file}")

    def ready(self, title: str, port: int) -> None:
        """One line for a service that serves."""
        say(f"✓ {title} (port {port}) ready")

    def welcome(self, seconds: float) -> None:
        """What to open, and one call to try."""
        url = f"http://localhost:{self._settings.door_port}"
        say(_WELCOME.format(seconds=seconds, url=url, data=self._settings.data_folder.absolute()))


def say(text: str) -> None:
    """A line on the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
