"""Networks and errors of somebody's own, from their file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from program import semblante
from semblante.data import Dataset
from semblante.errors import OptionError, RunFolderError
from semblante.recognise.classifier import Classifier
from semblante.train.export import export
from semblante.train.loop import train
from semblante.train.networks import build_network
from semblante.train.objective import Objective, distillation
from semblante.train.options import TrainOptions
from training import QUICK, Stops, assert_same, run, weights

LAYERS = """
from torch import nn

def layer(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 5, stride=2), nn.BatchNorm2d(after), nn.ReLU())
"""
MINE = """
from layers import layer
from torch import nn

class Mine(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.body = nn.Sequential(layer(1, 8), layer(8, 16), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(64, n_outputs)

    def forward(self, faces):
        return self.head(self.body(faces))
"""


def test_from_its_file_to_answers(patterns_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "mine.py").write_text(MINE)
    train = ["train", "--data", patterns_csv, "--out", "run", "--network", "mine.py:Mine",
             "--epochs", 2, "--batch-size", 16, "--warmup-epochs", 0,
             "--precision", "fp32"]  # fmt: skip
    done = semblante(*train, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["options"]["network"] == f"{tmp_path / 'mine.py'}:Mine"
    # From another folder, by the path in the run.
    model = tmp_path / "mine.onnx"
    exported = semblante("export", tmp_path / "run", "--out", model, "--data", patterns_csv)
    assert exported.returncode == 0, exported.stderr
    shown = semblante("models", "show", model)
    assert str(tmp_path) not in shown.stdout
    assert json.loads(shown.stdout)["network"] == "mine.py:Mine"  # its folder is nobody's business
    (tmp_path / "mine.py").write_text(MINE.replace("(2)", "(1)"))
    done = semblante(*train, "--resume", cwd=tmp_path)
    assert done.returncode == 2
    assert "run began with something else in " in done.stderr
    again = ("export", tmp_path / "run", "--out", tmp_path / "other.onnx", "--data", patterns_csv)
    refused = semblante(*again)
    assert "run was trained with something else in " in refused.stderr
    (tmp_path / "mine.py").unlink()
    refused = semblante(*again)
    assert f"{tmp_path / 'mine.py'}: there is no such file" in refused.stderr
    assert not (tmp_path / "other.onnx").exists()
    found = semblante("evaluate", "--data", patterns_csv, "--model", model, "--format", "json")
    assert json.loads(found.stdout)["n"] > 0  # without the file


@pytest.mark.parametrize(
    ("text", "function", "message"),
    [
        (None, "make", r"own\.py: there is no such file"),
        (
            "import torch",
            "make",
            r"own\.py:make: there is no function or class 'make' in .*own\.py",
        ),
        ("make = 3", "make", "there is no function or class 'make'"),
        (
            "\n\n1 / 0",
            "make",
            r"own\.py: cannot be run: line 3: ZeroDivisionError: division by zero",
        ),
        ("def make(n:\n    pass", "make", r"own\.py: cannot be run: line 1: .*"),
        ("import sys\nsys.exit(3)", "make", r"own\.py: cannot be run: line 2: SystemExit: 3"),
        ("import nowhere", "make", "line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("def make(n):\n    return n.x", "make", "cannot be made with 7 outputs: line 2: Attr"),
        (
            "def make():\n    pass",
            "make",
            "cannot be made with 7 outputs: TypeError: make.. takes 0",
        ),
        ("def make(n):\n    return n", "make", r"expected a torch\.nn\.Module, found int"),
    ],
)
def test_what_gives_no_network(
    text: str | None, function: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(OptionError, match=message):
        build_network(f"{file}:{function}")


def test_one_that_takes_no_faces_leaves_no_folder(patterns: Dataset, tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    file = tmp_path / "own.py"
    for condition in ("True", "self.training"):
        text = f"if {condition}: raise ValueError('not today')\n        return self.head"
        file.write_text(MINE.replace("return self.head", text))
        expected = r"own\.py:Mine takes no faces of shape .*: line 12: ValueError: not today"
        with pytest.raises(OptionError, match=expected):
            run(patterns, replace(QUICK, network=f"{file}:Mine"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


FOCAL = """
def focal(logits, targets):
    logs = logits.log_softmax(dim=1)
    return -(targets * (1 - logs.exp()) ** 2 * logs).sum(dim=1).mean()
"""


def test_its_attributes_may_be_called_anything(patterns: Dataset, tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "mine.py").write_text(MINE.replace("super()", "self.steps = 3; super()"))
    options = replace(QUICK, network=f"{tmp_path / 'mine.py'}:Mine", epochs=1, all_steps_weight=0)
    run(patterns, options, tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "mine.onnx", patterns)["steps"] == []
    assert Classifier(tmp_path / "mine.onnx").max_steps is None


def test_one_of_which_only_a_part_learns_goes_on(patterns: Dataset, tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    frozen = "        self.unused = nn.Linear(3, 3)\n        self.body.requires_grad_(False)\n"
    (tmp_path / "mine.py").write_text(MINE.replace("    def forward", f"{frozen}\n    def forward"))
    for optimiser in ("sgd", "adamw", "muon"):
        options = replace(
            QUICK, network=f"{tmp_path / 'mine.py'}:Mine", epochs=2, warmup_epochs=0,
            all_steps_weight=0, optimiser=optimiser,
        )  # fmt: skip
        run(patterns, options, tmp_path / optimiser / "whole")
        with pytest.raises(KeyboardInterrupt):
            train(
                patterns, options, tmp_path / optimiser / "cut", Stops(), source={"path": "x.csv"}
            )
        run(patterns, options, tmp_path / optimiser / "cut", resume=True)
        assert_same(*(weights(tmp_path / optimiser / name) for name in ("whole", "cut")))


def test_an_error_of_ones_own(patterns: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(FOCAL)
    options = TrainOptions(error=f"{file}:focal", teachers=("a",), distill_weight=0.25)
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 4, 7)
    targets = torch.randn(4, 7).softmax(dim=1)
    found = Objective(options, teachers=[lambda _: theirs])(lambda _: [ours], theirs, targets)
    said = ours.softmax(dim=1)
    focal = -(targets * (1 - said) ** 2 * said.log()).sum() / 4
    taught = distillation(ours, (theirs / 3).softmax(dim=1), 3.0)
    torch.testing.assert_close(found, 0.75 * focal + 0.25 * taught)

    cheap = replace(QUICK, epochs=1, error=f"{file}:focal")
    run(patterns, cheap, tmp_path / "run")
    file.write_text(FOCAL.replace("2", "3"))
    with pytest.raises(RunFolderError, match=r"run began with something else in .*own.py than is"):
        run(patterns, cheap, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def error(logits, targets):\n    return logits - targets", "grad can be implicitly"),
        ("def error(logits):\n    return 0", "takes 1 positional argument but 2 were given"),
        ("def error(logits, targets):\n    return targets.sum()", "does not require grad"),
        ("def error(logits, targets):\n    return logits @ targets", "line 2: RuntimeError: mat1"),
        ("def other():\n    pass", "there is no function or class 'error'"),
    ],
)
def test_what_is_no_error(text: str, message: str, patterns: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(OptionError, match=message):
        run(patterns, replace(QUICK, error=f"{file}:error"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
