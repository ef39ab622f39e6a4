"""`python -m mesh.cli`, and what `bin/tooloo` runs."""

import sys

from mesh.cli.app import app


def main() -> int:
    """Runs the command line that this process was given; its exit code."""
    return app.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
