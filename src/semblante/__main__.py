"""`python -m semblante` is the `semblante` program."""

from semblante.cli import main

main()
