"""The command line: thin commands, a file a group."""

from __future__ import annotations

import sys


def main() -> None:
    """The `semblante` program; see `app.main`.

    The commands are imported inside, which takes a part of a second: Ctrl-C during that must exit
    with 130 as well. (While semblante itself is imported, before this, nobody can catch it.)
    """
    try:
        from semblante.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(130)
