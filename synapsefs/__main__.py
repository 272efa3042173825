"""``python -m synapsefs``: the command line."""

from synapsefs.cli import main

main()
