"""Two processes with half of each batch give the same result as one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from semblante.data import Dataset
from semblante.errors import OptionError
from semblante.train.distributed import (
    Processes,
    all_processes,
    check_norms,
    synchronise_norms,
)
from semblante.train.networks import build_network
from training import QUICK, run, weights


def in_two_processes(data: Path, out: Path, *options: object) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "semblante", "train",
        "--data", data, "--out", out, "--epochs", "1", "--batch-size", "28", "--warmup-epochs", "0",
        "--precision", "fp32", *options,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best epoch") == 1


@pytest.mark.parametrize(("cover", "within"), [(0.0, 1e-3), (0.3, 0.05)])
def test_two_processes_equal_one(
    patterns: Dataset, patterns_csv: Path, tmp_path: Path, cover: float, within: float
) -> None:
    # Only a few steps, since rounding errors grow with each step. Under a plain bar many pixels are
    # equal, so where rounding turns a ReLU off, it does so for all of them: differences of up to
    # 0.024 of a tensor's norm were seen. If other faces were covered, it would be 0.5 and more.
    options = replace(
        QUICK, epochs=1, warmup_epochs=0, batch_size=28, learning_rate=0.01, cover_probability=cover
    )
    run(patterns, options, tmp_path / "one")
    options = ("--network", "rcnn-tiny", "--learning-rate", 0.01, "--cover-probability", cover)
    in_two_processes(patterns_csv, tmp_path / "two", *options)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        apart = (two[name].double() - tensor.double()).norm()
        assert apart <= within * tensor.double().norm() + 1e-6, name
    ends = [
        json.loads((tmp_path / n / "log.json").read_text())["history"][-1] for n in ("one", "two")
    ]
    assert ends[0]["public_loss"] == pytest.approx(ends[1]["public_loss"], rel=within)


def test_two_processes_start_from_a_wider_network(
    patterns: Dataset, patterns_csv: Path, tmp_path: Path
) -> None:
    alpha = 1e-7  # so that weights hardly change: dropout differs between one and two
    options = {"network": "rcnn-slim", "initial": "rcnn-medium", "learning_rate": alpha}
    run(patterns, replace(QUICK, epochs=1, warmup_epochs=0, **options), tmp_path / "one")
    given = ("--network", "rcnn-slim", "--initial", "rcnn-medium", "--learning-rate", alpha)
    in_two_processes(patterns_csv, tmp_path / "two", *given)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    kernels = [name for name in one if name.startswith("network.") and name.endswith(".weight")]
    assert len(kernels) > 10
    for name in kernels:
        assert torch.allclose(one[name], two[name], atol=1e-4), name


def test_one_group_for_all_runs_of_a_call(tmp_path: Path) -> None:
    """A second process group would find the first one's addresses and hang for ever."""
    script = tmp_path / "groups.py"
    script.write_text("""
import time
from semblante.train.distributed import all_processes
before = all_processes()
for choice in (True, False):
    now = all_processes()
    assert now == before and now.count == 2
    if now.first:
        time.sleep(1)  # longer than the other
    assert now.broadcast(choice and now.first) is choice
print("agreed")
""")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", script],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("agreed") == 2


def test_each_takes_its_own_part() -> None:
    batch = torch.arange(6)
    parts = [Processes(rank, 3).shard(batch).tolist() for rank in range(3)]
    assert parts == [[0, 3], [1, 4], [2, 5]]


def test_a_batch_that_cannot_be_shared() -> None:
    all_processes().check_shares(1, 100)
    Processes(0, 3).check_shares(18, 100)
    Processes(0, 3).check_shares(16, 9)
    with pytest.raises(OptionError, match="of 16 of 100 faces of Training cannot be shared evenly"):
        Processes(0, 3).check_shares(16, 100)


def test_a_network_whose_norms_cannot_be_shared() -> None:
    check_norms(build_network("rcnn-small"))
    with pytest.raises(OptionError, match="cannot be trained by several processes"):
        check_norms(build_network("course-cnn"))
    for other in (
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, momentum=None),
        nn.BatchNorm2d(3, track_running_stats=False),
        type("Mine", (nn.BatchNorm2d,), {})(3),
    ):
        with pytest.raises(
            OptionError, match=r"a network with \w+\(3, .* share a plain BatchNorm2d"
        ):
            check_norms(nn.Sequential(other))


def test_norms_are_replaced_with_their_tensors() -> None:
    network = build_network("rcnn-small-shared-norm")
    before = dict(network.state_dict())
    synchronise_norms(network)
    assert not any(type(module) is nn.BatchNorm2d for module in network.modules())
    after = network.state_dict()
    assert all(after[name].data_ptr() == tensor.data_ptr() for name, tensor in before.items())
    assert len({id(norm) for norm in network.layers[1].norms}) == 1
