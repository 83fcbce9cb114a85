"""The command line: thin commands, a file a group."""

from semblante.cli.app import main

__all__ = ["main"]
