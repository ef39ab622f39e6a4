"""`python -m mesh.cli`, and what `bin/tooloo` runs."""

import gc
import sys

# modules make many objects and no garbage: looking for some while they are loaded takes a twentieth of a start
gc.set_threshold(50_000)

from mesh.cli.app import app  # noqa: E402 - after what makes it cheaper


def main() -> int:
    """Runs the command line that this process was given; its exit code."""
    return app.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
