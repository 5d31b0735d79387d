"""``procorch completion``: the script that a shell completes with."""

from __future__ import annotations

import click

from procorch.cli import streams
from procorch.cli.verb import Verb


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), envvar="PROCORCH_SHELL")
def command(shell: str) -> int:
    """Print the completion script of a shell.

    For bash: eval "$(procorch completion bash)" in ~/.bashrc; likewise for zsh. For fish: procorch
    completion fish > ~/.config/fish/completions/procorch.fish.
    """
    from click.shell_completion import get_completion_class

    from procorch.cli import shells
    from procorch.cli.main import group

    shells.register()
    kind = get_completion_class(shell)
    assert kind is not None
    streams.emit(kind(group, {}, "procorch", "_PROCORCH_COMPLETE").source())
    return 0
