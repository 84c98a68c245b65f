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
    name, variable = "dataflow-runtime", "_DATAFLOW_RUNTIME_COMPLETE"
    script = complete(ctx.find_root().command, {}, name, variable).source()
    # A key is completed up to its `=`: no space after it. Fish knows that by itself.
    add = "COMPREPLY+=($value)"
    click.echo(script.replace(add, f"{add}\n            [[ $value == *= ]] && compopt -o nospace"))
