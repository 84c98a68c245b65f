"""``completion``: the scripts by which bash, zsh and fish complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion_command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell. Completing loads no workflow.

    \b
    Set it up:
      bash: echo 'eval "$(dataflow-runtime completion bash)"' >> ~/.bashrc
      zsh:  echo 'eval "$(dataflow-runtime completion zsh)"' >> ~/.zshrc
      fish: dataflow-runtime completion fish > ~/.config/fish/completions/dataflow-runtime.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None
    root = ctx.find_root()
    name = "dataflow-runtime"
    click.echo(complete(root.command, {}, name, "_DATAFLOW_RUNTIME_COMPLETE").source())
