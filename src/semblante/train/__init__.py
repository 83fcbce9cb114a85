"""Training: the only part of semblante that imports torch."""
