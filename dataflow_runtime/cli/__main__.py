"""``python -m dataflow_runtime.cli``: the command line, where the script's path is not known."""

from dataflow_runtime.cli import main

main()
