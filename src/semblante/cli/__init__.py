"""The command line: thin commands, a file a group."""

from semblante.cli.app import main

__all__ = ["main"]

import os

# What cannot be read is told in our own words; read by OpenCV when it is imported.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
