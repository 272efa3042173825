"""The command line: ``synapsefs serve``, and file commands over ``synapse://`` URLs.

Errors are one line on stderr and exit code 1; wrong usage is exit code 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from synapsefs.cli import read, serve, transfer, units
from synapsefs.cli.base import app

__all__ = ["app", "main", "read", "serve", "transfer", "units"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        What stands behind the program's name; ``sys.argv`` when left out.
    """
    app(args=arguments, prog_name="synapsefs")
