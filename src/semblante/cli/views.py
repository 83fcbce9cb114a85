"""The pictures that `semblante analyze` makes of all it found: contact sheet and timelines."""

from __future__ import annotations

import os
from pathlib import Path

from semblante.errors import ImageError
from semblante.images import load_image
from semblante.recognise.annotate import save_picture, saved_name
from semblante.recognise.sheets import Tile, contact_sheet, tile_of, timeline
from semblante.results import Analysis

_MOST_TILES = 2000


class Views:
    """Give it every result, in order, and let it write at the end."""

    def __init__(self, sheet: Path | None, timelines: Path | None, language: str) -> None:
        self._sheet = sheet
        self._timelines = timelines
        self._language = language
        self._tiles: list[Tile] = []
        self._clips: dict[str, list[Analysis]] = {}

    def add(self, analysis: Analysis) -> None:
        """A picture, or a frame of a video."""
        if analysis.path is None or analysis.error is not None:
            return
        if analysis.frame is not None:
            if self._timelines is not None:
                self._clips.setdefault(analysis.path, []).append(analysis)
        elif self._sheet is not None and analysis.faces and len(self._tiles) < _MOST_TILES:
            try:
                image = load_image(analysis.path)
            except ImageError:
                return  # it was there a moment ago, and its faces are in the results
            self._tiles += [
                tile_of(image, face.box, face.emotion, face.probabilities[face.emotion])
                for face in analysis.faces
            ]

    def write(self) -> None:
        """Whatever was asked for."""
        if self._sheet is not None:
            save_picture(contact_sheet(self._tiles, self._language), saved_name(self._sheet))
        for path, frames in self._clips.items():
            assert self._timelines is not None
            place = self._timelines / f"{os.path.basename(path)}.png"  # noqa: PTH119
            save_picture(timeline(frames, self._language), place)
