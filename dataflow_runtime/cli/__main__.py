"""``python -m dataflow_runtime.cli``: the command line, for processes that know no path of the script."""

from dataflow_runtime.cli import main

main()
