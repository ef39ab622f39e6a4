"""`python -m mesh.cli`, and what `bin/tooloo` runs."""

import gc
import os
import sys

# modules make many objects and no garbage: looking for some while they are loaded takes a twentieth of a start
gc.set_threshold(50_000)

from mesh.cli.app import app  # noqa: E402 - after what makes it cheaper


def main() -> int:
    """Runs the command line that this process was given; its exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # closed by whoever started it (`>&-`): nothing is read there, and nobody reads it
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lasts
    return app.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
