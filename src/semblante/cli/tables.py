"""Print tables: on a terminal no wider than it is, elsewhere as wide as they need to be."""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.table import Column, Table

from semblante.translation import translated


def new_table(*headings: str, language: str) -> Table:
    """A table without lines; `headings` are given in English. A text that is too long for the first
    column, such as a path, is wrapped."""
    first, *others = (translated(heading, language) for heading in headings)
    return Table(Column(first, overflow="fold"), *others, box=None, pad_edge=False)


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """Print to standard output, or to a file; cells are shown as they are, without markup."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(table)
        return
    console.width = 10_000
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        print(line.rstrip(), file=file)
