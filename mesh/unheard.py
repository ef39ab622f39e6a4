"""Standard output that nobody reads any more: a pipe that was closed, a terminal that is gone, a file on a full disk."""

import os
import sys


def let_go() -> None:
    """Sends what is still in standard output's buffer nowhere: it would be complained about at the end of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
