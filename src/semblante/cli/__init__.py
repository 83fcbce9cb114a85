"""The command line: one file for each command or group of commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `semblante` program; see `app.main`.

    The commands are imported in here, since that takes a fraction of a second during which Ctrl-C
    must exit with 130 as well. (Nothing can catch Ctrl-C before that, while the package `semblante`
    itself is imported.)
    """
    try:
        from semblante.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(130)
