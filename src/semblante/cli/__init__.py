"""The command line: thin commands, a file a group."""

import os

# What cannot be read is told in our own words. OpenCV reads the first of these when it is imported.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

from semblante.cli.app import main  # noqa: E402

__all__ = ["main"]
