"""semblante: the emotions that faces show, in pictures.

import semblante

analyzer = semblante.Analyzer()
for face in analyzer.analyze("family.jpg"):
    print(face.box, face.emotion, face.probability)
"""

import os
import sys

# Windows's Media Foundation takes up to a minute to open a camera unless OpenCV is told this. It
# reads it when it is loaded, which the imports below do, and any module of semblante comes here
# first.
if sys.platform == "win32":
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")

from semblante.data import Dataset, load_dataset, load_fer2013
from semblante.emotions import EMOTIONS, emotion_name
from semblante.errors import (
    DataError,
    ImageError,
    MissingExtraError,
    ModelError,
    OptionError,
    SemblanteError,
    VideoError,
)
from semblante.images import ImageSource, RgbImage, load_image
from semblante.models import available_models
from semblante.recognise.annotate import annotate
from semblante.recognise.detection import Detection, Detector
from semblante.recognise.explain import Explanation
from semblante.recognise.pipeline import Analyzer
from semblante.recognise.sheets import evidence_sheet
from semblante.recognise.tracks import Tracker
from semblante.recognise.video import Video
from semblante.results import Analysis, Box, Face
from semblante.summary import TrackSummary, VideoSummary, summarize
from semblante.tabular import to_pandas

__version__ = "0.1.0"

__all__ = [
    "EMOTIONS",
    "Analysis",
    "Analyzer",
    "Box",
    "DataError",
    "Dataset",
    "Detection",
    "Detector",
    "Explanation",
    "Face",
    "ImageError",
    "ImageSource",
    "MissingExtraError",
    "ModelError",
    "OptionError",
    "RgbImage",
    "SemblanteError",
    "TrackSummary",
    "Tracker",
    "Video",
    "VideoError",
    "VideoSummary",
    "annotate",
    "available_models",
    "emotion_name",
    "evidence_sheet",
    "load_dataset",
    "load_fer2013",
    "load_image",
    "summarize",
    "to_pandas",
]
