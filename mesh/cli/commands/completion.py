"""Prints the completion of a shell: commands, RPCs, fields, choices, services and subscriptions."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mesh.cli.console import Code, Console

_HOW = {
    "bash": 'add to ~/.bashrc:  eval "$(tooloo completion bash)"',
    "zsh": 'add to ~/.zshrc:  eval "$(tooloo completion zsh)"',
    "fish": "run once:  tooloo completion fish > ~/.config/fish/completions/tooloo.fish",
}


@click.command
@click.argument("shell", type=click.Choice(sorted(_HOW)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    r"""Prints the completion of a shell.

    \b
    bash  add to ~/.bashrc:  eval "$(tooloo completion bash)"
    zsh   add to ~/.zshrc:   eval "$(tooloo completion zsh)"
    fish  run once:          tooloo completion fish > ~/.config/fish/completions/tooloo.fish
    """
    console, root = context.ensure_object(Console), context.find_root()
    kind = get_completion_class(shell)
    if kind is None:
        console.fail(f"click completes no {shell}", code=Code.USAGE)
    script = kind(root.command, {}, "tooloo", "_TOOLOO_COMPLETE").source()
    console.result({"shell": shell, "script": script, "install": _HOW[shell]}, script)
