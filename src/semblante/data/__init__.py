"""Labelled faces: FER2013 and what can be said about its rows before any network sees them."""

from semblante.data.class_names import LABEL_MAPS
from semblante.data.dataset import SPLITS, Dataset
from semblante.data.load import load_dataset, load_fer2013

__all__ = ["LABEL_MAPS", "SPLITS", "Dataset", "load_dataset", "load_fer2013"]
