"""Prints the completion of a shell: commands, RPCs, fields, choices, services and subscriptions."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mesh.cli.console import Code, Console
from mesh.cli.sharing import Command

_HOW = {
    "bash": 'add to ~/.bashrc:  eval "$(tooloo completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit:  eval "$(tooloo completion zsh)"',
    "fish": "run once:  tooloo completion fish > ~/.config/fish/completions/tooloo.fish",
}
# What click's scripts lack: a name that ends in "=" is followed by its value, not by a space (fish knows that by itself), and an
# explanation goes on after its first comma.
_MENDED = {
    "bash": (("COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"),),
    "zsh": (
        ("local -a response\n", "local -a response suffix\n"),
        (
            'if [[ "$type" == "plain" ]]; then\n',
            'if [[ "$type" == "plain" ]]; then\n            [[ "$key" == *= ]] && suffix=(-S "")\n',
        ),
        ("completions_with_descriptions -U", 'completions_with_descriptions -U "${suffix[@]}"'),
        ("compadd -U", 'compadd -U "${suffix[@]}"'),
    ),
    "fish": (('string split ","', 'string split --max 1 ","'),),
}


def script_of(shell: str, root: click.Command) -> str:
    """The script that makes a shell ask `tooloo` what could come next."""
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(f"click completes no {shell}")
    script = kind(root, {}, "tooloo", "_TOOLOO_COMPLETE").source()
    for theirs, ours in _MENDED[shell]:
        if theirs not in script:
            raise LookupError(f"click's script for {shell} no longer has {theirs!r}; mend it here")
        script = script.replace(theirs, ours)
    return script


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(sorted(_HOW)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    r"""Prints the completion of a shell.

    \b
    bash  add to ~/.bashrc:                 eval "$(tooloo completion bash)"
    zsh   add to ~/.zshrc, after compinit:  eval "$(tooloo completion zsh)"
    fish  run once:  tooloo completion fish > ~/.config/fish/completions/tooloo.fish
    """
    console = context.ensure_object(Console)
    try:
        script = script_of(shell, context.find_root().command)
    except LookupError as error:
        console.fail(str(error), code=Code.USAGE)
    console.result({"shell": shell, "script": script, "install": _HOW[shell]}, script)
