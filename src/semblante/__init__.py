"""semblante: the emotions that faces show, in pictures."""

__version__ = "0.1.0"
