"""Opens the control room, or a page of it, in the browser."""

import os
import sys
import webbrowser

import click

from mesh.cli.console import Console
from mesh.cli.sharing import Command


def _display() -> bool:
    """True where a browser could show something."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@click.command(cls=Command)
@click.argument("page", default="")
@click.pass_obj
def command(console: Console, page: str) -> None:
    """Opens the control room, or a page of it (e.g. events, calls), in the browser.

    Prints the address; a browser is started only where there is a display.
    """
    url = f"{console.url}/#/{page.strip('/')}" if page else f"{console.url}/"
    opened = _display() and webbrowser.open(url)
    console.result({"url": url, "opened": opened}, url)
