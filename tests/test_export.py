"""What leaves training is what recognition runs: same outputs, same accuracy, well described."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from conftest import pattern_dataset
from program import semblante
from semblante.data import Dataset
from semblante.emotions import EMOTIONS
from semblante.errors import ModelError, OptionError
from semblante.models import model_path
from semblante.preprocess import InputSpec, network_input
from semblante.recognise.classifier import Classifier, import_onnxruntime
from semblante.train import export as export_module
from semblante.train import merge as merge_module
from semblante.train.calibration import calibrated
from semblante.train.export import export, lost_limit, onnx_model
from semblante.train.merge import check_same_start, merged, take_mean
from semblante.train.networks import NETWORKS, build_network
from semblante.train.precision import _norms_as_convolutions, quantised
from semblante.train.recurrent import RecurrentNetwork
from semblante.train.run_folder import RunConfig
from semblante.train.trained import load_best
from training import QUICK, run


@pytest.fixture(scope="module")
def run_dir(patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "run"
    run(patterns, replace(QUICK, epochs=2), path)
    return path


@pytest.fixture(scope="module")
def exported(run_dir: Path, patterns: Dataset) -> Path:
    out = run_dir.parent / "model.onnx"
    export(run_dir, out, patterns)
    return out


def test_a_network_without_votes_answers_by_fer2013s_labels(exported: Path) -> None:
    assert Classifier(exported, head=None).head == "fer2013"
    with pytest.raises(
        OptionError, match="model has not learnt FER\\+'s votes: expected a network"
    ):
        Classifier(exported, head="ferplus")


def test_outputs_equal_torch_for_any_number_of_faces(
    run_dir: Path, exported: Path, patterns: Dataset
) -> None:
    network, _ = load_best(run_dir)
    classifier = Classifier(exported)
    for n in (0, 1, 3, 200):
        faces = patterns.images[:n]
        found = classifier.logits(faces)
        assert found.shape == (n, 7)
        if n:
            with torch.no_grad():
                expected = calibrated(
                    network(torch.from_numpy(network_input(faces))),
                    torch.tensor(classifier.about["temperatures"][-1]).log(),
                )
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_file_describes_itself(run_dir: Path, exported: Path, patterns: Dataset) -> None:
    about = Classifier(exported).about
    config = json.loads((run_dir / "config.json").read_text())
    assert about["labels"][3] == "happy"
    assert about["input"] == {"size": 48, "normalisation": "per-image", "variance_floor": 1.0}
    assert about["steps"] == [1, 2, 2]
    assert about["network"] == "rcnn-tiny"
    assert about["training"]["options"] == config["options"]
    assert about["training"]["dataset_sha256"] == patterns.fingerprint()
    network, record = load_best(run_dir)
    assert about["training"]["runs"] == [{"seed": 0, "epoch": record["epoch"]}]
    assert about["training"]["dataset"] == f"{Path(config['source']['path']).name}, Training split"
    assert about["training"]["public_test"] == {"n": 84, "accuracy": record["public_accuracy"]}
    assert about["parameters"] == sum(p.numel() for p in network.parameters())


def test_the_recurrent_kernel_is_stored_once_and_no_path_of_this_machine(exported: Path) -> None:
    model = onnx.load(exported)
    kernels = [tuple(i.dims) for i in model.graph.initializer if len(i.dims) == 4]
    # The stem, and of each of three layers w_f and w_r; the steps share w_r.
    assert len(kernels) == 7
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 1 + 3 + 5
    assert b"site-packages" not in exported.read_bytes()
    assert str(Path(export_module.__file__).parent).encode() not in exported.read_bytes()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_forms_say_nearly_the_same(
    run_dir: Path, exported: Path, patterns: Dataset, tmp_path: Path, precision: str
) -> None:
    out = tmp_path / "small.onnx"
    about = export(run_dir, out, patterns, precision)
    assert about["precision"] == precision
    assert Classifier(out).about == json.loads(json.dumps(about))
    whole, small = (Classifier(path).logits(patterns.images) for path in (exported, out))
    assert 0 < np.abs(whole - small).max() < 0.3 * np.abs(whole).max()
    assert (whole.argmax(axis=1) == small.argmax(axis=1)).mean() > 0.97
    if precision == "fp16":  # of so few weights, int8's scales are the larger part
        assert out.stat().st_size < 0.75 * exported.stat().st_size


@pytest.mark.parametrize("enlargement", [1.0, 4 / 3])
def test_int8_computes_every_convolution_but_the_first_in_eight_bits(
    run_dir: Path,
    patterns: Dataset,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    enlargement: float,
) -> None:
    """Also those of the last layer, whose faces leave when they are settled; and every norm."""
    if enlargement != 1:
        size = {"stem": 8, "channels": (16, 24, 32), "steps": (1, 2, 2), "strides": (2, 2, 2)}
        monkeypatch.setitem(
            NETWORKS,
            "large",
            lambda n: RecurrentNetwork(
                n_classes=n,
                dropout=0.0,
                enlargement=enlargement,
                **size,  # type: ignore[arg-type]
            ),
        )
        run_dir = tmp_path / "large"
        run(patterns, replace(QUICK, network="large", epochs=2), run_dir)
    out, as_run = tmp_path / "int8.onnx", tmp_path / "as-run.onnx"
    export(run_dir, out, patterns, "int8")
    assert capfd.readouterr() == ("", "")
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(as_run)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(as_run).graph.node)
    assert kinds["Conv"] + kinds["FusedConv"] == 1
    assert kinds["QLinearConv"] == 3 + 5 + 8
    assert kinds["BatchNormalization"] == 0
    assert kinds["Resize"] == (enlargement != 1)


def test_smaller_forms_that_lose_too_much_are_refused(
    run_dir: Path, patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export_module, "lost_limit", lambda n, changed: -84.0
    )  # it would have to gain
    with pytest.raises(ModelError, match="not exported: accuracy on 84 faces is"):
        export(run_dir, tmp_path / "model.onnx", patterns, "fp16")
    with pytest.raises(OptionError, match="unknown precision 'int4'; known: fp32, fp16, int8"):
        export(run_dir, tmp_path / "model.onnx", patterns, "int4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("n", "changed", "refused"), [(300, 0, 1), (300, 3, 5), (1000, 25, 10), (3589, 60, 11)]
)
def test_how_many_answers_a_smaller_form_may_lose(n: int, changed: int, refused: int) -> None:
    """Of few faces what chance explains, of FER2013's 3,589 less than 0.3 %."""
    assert refused - 1 < lost_limit(n, changed) <= refused


def test_export_refuses_other_outputs(
    run_dir: Path, patterns: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Classifier.all_logits
    monkeypatch.setattr(Classifier, "all_logits", lambda self, faces: real(self, faces) + 2e-4)
    with pytest.raises(ModelError, match=r"not exported: .* differs from torch's by 0\.0002"):
        export(run_dir, tmp_path / "model.onnx", patterns)
    assert list(tmp_path.iterdir()) == []


def test_export_keeps_an_older_file_when_it_refuses(run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    out.write_bytes(b"older")
    with pytest.raises(ModelError, match="another dataset"):
        export(run_dir, out, pattern_dataset(seed=9))
    assert out.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("precision", "differs", "loses", "refused"),
    [
        ("fp32", 0.9e-4, 0, None),
        ("fp32", 1.1e-4, 0, "differs from torch's by 0.00011, more than 0.0001"),
        ("fp32", -1.1e-4, 0, "differs from torch's by 0.00011, more than 0.0001"),
        ("fp32", np.nan, 0, "differs from torch's by nan"),
        ("fp32", 0.0, 1, "accuracy on 1000 faces is 0.9990 in ONNX Runtime and 1.0000 in torch"),
        ("int8", 0.9, 5, None),
        ("int8", 0.9, 6, "accuracy on 1000 faces is 0.9940 in ONNX Runtime"),
    ],
)
def test_what_a_file_may_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, precision: str, differs: float, loses: int, refused: str | None
) -> None:
    """Of a thousand faces, after each of three steps, of which the first is the one that differs;
    `loses` of them, at the last step, by less than the outputs may."""
    labels = np.arange(1000) % 7
    faces = Dataset(
        np.zeros((1000, 48, 48), np.uint8), labels, np.zeros(1000, np.uint8)
    )  # fmt: skip
    theirs = np.zeros((3, 1000, 15), np.float32)
    theirs[:, np.arange(1000), labels] = 5e-5
    theirs[:, :, 7:] = 1.0  # FER+'s have no say in the accuracy
    ours = theirs.copy()
    ours[0, 3, 9] += differs
    ours[2, :loses, :7] = -ours[2, :loses, :7]
    asked = []

    class Said:
        def __init__(self, path: Path, steps: int | None) -> None:
            asked.append(steps)

        def all_logits(self, _: np.ndarray) -> np.ndarray:
            return ours[len(asked) - 1]

    monkeypatch.setattr(export_module, "Classifier", Said)
    exact = precision == "fp32"
    if refused is None:
        export_module._compare(Path("x.onnx"), faces, theirs, "fp32" if exact else "int8")
        assert asked == [0, 1, 2]
        asked.clear()
        export_module._compare(Path("x.onnx"), faces, theirs[:1], "fp32" if exact else "int8")
        assert asked == [None]  # a network without early exit knows no steps
    else:
        with pytest.raises(ModelError, match=f"not exported: .*{refused}"):
            export_module._compare(Path("x.onnx"), faces, theirs, "fp32" if exact else "int8")


def test_what_is_handed_on_names_no_folder() -> None:
    ours = replace(
        QUICK, initial="/home/anna/first", teachers=("/a/one.onnx", "two"), estimates="/b/folds",
        ferplus_weight=0.5, relabel_weight=0.5, distill_weight=0.5,
    )  # fmt: skip
    found = export_module._without_folders(ours)
    assert (found["initial"], found["estimates"]) == ("first", "folds")
    assert found["teachers"] == ["one.onnx", "two"]
    moved = replace(ours, initial="/elsewhere/first", seed=7)
    assert export_module._changed(ours, moved) == {"seed": 7}


@pytest.mark.parametrize(
    ("changes", "hashes", "refused"),
    [
        ({"seed": 5}, ("a", "a"), None),
        ({}, ("a", "b"), "first held other ones for 0 than for 2"),
        ({"network": "rcnn-small"}, ("a", "a"), "network is 'rcnn-tiny' in 0, 'rcnn-small' in 2"),
        ({"initial": "second"}, ("a", "a"), "initial is 'first' in 0, 'second' in 2"),
        ({"ferplus_weight": 0.5}, ("a", "a"), "of 0 and 2 only one has learnt FER"),
    ],
)
def test_runs_that_have_a_mean(
    changes: dict[str, object], hashes: tuple[str, str], refused: str | None
) -> None:
    options = replace(QUICK, initial="first")
    ours, theirs = (
        RunConfig(run, "data", None, {}, False, {"first": sha256})
        for run, sha256 in zip((options, replace(options, **changes)), hashes, strict=True)
    )
    runs, configs = [Path(name) for name in "012"], [ours, ours, theirs]
    if refused is None:
        check_same_start(runs, configs)
    else:
        with pytest.raises(OptionError, match=refused):
            check_same_start(runs, configs)


def test_runs_of_other_votes_have_no_mean() -> None:
    options = replace(QUICK, initial="first")
    configs = [RunConfig(options, "data", votes, {}, False) for votes in (None, "a", None, "a")]
    runs = [Path(name) for name in "01234"]
    check_same_start(runs[:4], configs)
    with pytest.raises(OptionError, match=r"the same FER\+ votes: 1 and 4 have not"):
        check_same_start(runs, [*configs, replace(configs[0], votes_sha256="b")])


def test_runs_that_started_from_nothing_or_are_one_have_no_mean() -> None:
    config = RunConfig(QUICK, "data", None, {}, False)
    with pytest.raises(OptionError, match="a began with random weights"):
        check_same_start([Path("a"), Path("b")], [config] * 2)
    with pytest.raises(OptionError, match="found one twice"):
        check_same_start([Path("a"), Path("b/../a")], [config] * 2)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, patterns: Dataset) -> RunConfig:
    """Of every run: its best epoch was the first, whose weights are all 1; its last the third,
    whose weights are all 3; and those that it started from were all 8."""
    config = RunConfig(
        replace(QUICK, initial="start"), patterns.fingerprint(), None, {}, False, {"start": "a"}
    )

    def network(value: float) -> torch.nn.Module:
        made = build_network("rcnn-tiny")
        for parameter in made.parameters():
            parameter.data.fill_(value)
        return made

    def start_from(network: torch.nn.Module, *_: object) -> None:
        for parameter in network.parameters():
            parameter.data.fill_(8.0)

    history = [{"epoch": number} for number in (1, 2, 3)]
    best = {"epoch": 1, "network": "rcnn-tiny"}
    monkeypatch.setattr(merge_module, "load_best", lambda _: (network(1.0), best))
    monkeypatch.setattr(merge_module, "load_last", lambda _: (network(3.0), history))
    monkeypatch.setattr(merge_module, "read_config", lambda _: config)
    monkeypatch.setattr(merge_module, "start_from", start_from)
    monkeypatch.setattr(merge_module, "weights_sha256", lambda _: {"start": "a"})
    return config


@pytest.mark.parametrize(
    ("runs", "share", "value", "epoch"),
    [("a", 0.0, 1.0, 1), ("ab", 0.0, 3.0, 3), ("a", 0.25, 2.75, 1), ("a", 1.0, 8.0, 1)],
)
def test_which_weights_are_taken(
    kept: RunConfig, patterns: Dataset, runs: str, share: float, value: float, epoch: int
) -> None:
    """Of one run the best epoch's, of several the last ones'."""
    network, about = merged([Path(run) for run in runs], patterns, share)
    assert {float(p.detach().mean()) for p in network.parameters()} == {value}
    assert [found for found, _ in about] == [epoch] * len(runs)


def test_runs_whose_weights_are_not_taken(
    kept: RunConfig, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_module, "weights_sha256", lambda _: {"start": "b"})
    with pytest.raises(ModelError, match="start holds other weights now than when the run began"):
        merged([Path("a")], patterns, 0.5)
    for changes, reason in (
        ({"source": {"fold": 1}}, "a was trained on part of Training for --cross-fit"),
        ({"dataset_sha256": "other"}, "a was trained on another dataset"),
        ({"options": replace(QUICK, network="rcnn-small")}, "'rcnn-small', but best.safetensors "),
    ):
        config = replace(kept, **changes)
        monkeypatch.setattr(merge_module, "read_config", lambda _, config=config: config)
        with pytest.raises(ModelError, match=reason):
            merged([Path("a")], patterns, 0.0)


@pytest.mark.parametrize("share", [-0.5, 1.5, float("nan")])
def test_a_share_that_is_none(
    run_dir: Path, patterns: Dataset, tmp_path: Path, share: float
) -> None:
    with pytest.raises(OptionError, match="initial_share between 0 and 1"):
        export(run_dir, tmp_path / "model.onnx", patterns, initial_share=share)
    assert list(tmp_path.iterdir()) == []


def test_the_mean_of_networks_is_of_all_of_them_and_of_their_statistics() -> None:
    torch.manual_seed(0)
    networks = [build_network("rcnn-tiny") for _ in range(3)]
    for number, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif name.endswith("running_mean"):
                tensor.fill_(number)
    states = [{n: t.clone() for n, t in network.state_dict().items()} for network in networks]
    take_mean(networks)
    for name, tensor in networks[0].state_dict().items():
        if tensor.is_floating_point():
            expected = sum(state[name] for state in states) / 3
            torch.testing.assert_close(tensor, expected)
        else:
            assert tensor == 7


@pytest.mark.parametrize("n", [214, 60])
def test_int8_of_a_run_on_few_faces(exported: Path, n: int) -> None:
    """Fewer than calibration takes, in numbers that it does not divide."""
    level = logging.getLogger().level
    faces = network_input(np.tile(pattern_dataset().images, (2, 1, 1))[:n])
    graph, whole_step = quantised(onnx.load(exported), faces).graph, np.zeros(1)
    assert logging.getLogger().level == level
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kernels = [
        (tensors[node.input[0]], tensors[node.input[1]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and tensors.get(node.input[0], whole_step).ndim == 4
    ]
    assert len(kernels) >= 6
    for kernel, scale in kernels:
        assert np.abs(kernel.astype(int)).max() <= 64  # seven bits
        assert scale.shape == kernel.shape[:1]  # one for each of its outputs


def test_int8_of_a_network_without_recurrence(patterns: Dataset, tmp_path: Path) -> None:
    """Most of its weights are those of a dense layer: they are in eight bits as well."""
    options = replace(QUICK, network="course-cnn", epochs=1, all_steps_weight=0.0)
    run(patterns, options, tmp_path / "run")
    export(tmp_path / "run", tmp_path / "int8.onnx", patterns, "int8")
    network, _ = load_best(tmp_path / "run")
    n = sum(parameter.numel() for parameter in network.parameters())
    assert (tmp_path / "int8.onnx").stat().st_size < 1.1 * n
    assert Classifier(tmp_path / "int8.onnx").max_steps is None
    with pytest.raises(OptionError, match="int8 has no choice of steps"):
        Classifier(tmp_path / "int8.onnx", steps=1)


def test_a_run_whose_dataset_is_not_where_it_was(run_dir: Path, tmp_path: Path) -> None:
    """Moved since; or never in a file, if the run was started from Python."""
    config = json.loads((run_dir / "config.json").read_text())
    assert config["source"] == {"path": "x.csv"}
    out = tmp_path / "model.onnx"
    done = semblante("export", run_dir, "--out", out, cwd=tmp_path)
    assert done.returncode == 1
    expected = "x.csv, the run's dataset, is gone: give its new place with --data"
    assert done.stderr == f"semblante: {expected}\n"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "source": {}}))
    done = semblante("export", "run", "--out", out, cwd=tmp_path)
    assert done.returncode == 1
    expected = "run does not say where its dataset lies: give its place with --data"
    assert done.stderr == f"semblante: {expected}\n"
    assert not out.exists()


def test_no_run(tmp_path: Path, patterns: Dataset) -> None:
    with pytest.raises(ModelError, match=r"best\.safetensors: there is no such file"):
        export(tmp_path, tmp_path / "model.onnx", patterns)
    (tmp_path / "config.json").write_text("{}")  # as a run in its first epoch leaves it
    with pytest.raises(ModelError, match="no epoch of this run has ended yet: `train --resume`"):
        export(tmp_path, tmp_path / "model.onnx", patterns)


def test_int8_is_calibrated_on_faces_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 500, always the same, and on none by which a model is chosen or measured."""
    seen: list[np.ndarray] = []

    def quantised(model: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
        seen.append(faces[:, 0, 0] + 256 * faces[:, 0, 1].astype(int))
        return model

    monkeypatch.setattr(export_module, "quantised", quantised)
    monkeypatch.setattr(export_module, "network_input", lambda faces: faces)
    images = np.zeros((1800, 48, 48), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(1800) % 256, np.arange(1800) // 256
    splits = (np.arange(1800) // 600).astype(np.uint8)
    for _ in range(2):
        model = onnx.load(other_onnx(tmp_path / "whole.onnx", {}))
        export_module._in_int8(model, Dataset(images, np.arange(1800) % 7, splits))
    assert len(set(seen[0].tolist())) == 500
    assert seen[0].max() < 600
    assert np.array_equal(*seen)


def graph_of(nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """From `faces` to `logits`."""
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [shape("faces", 1, ["n", 1, 48, 48])], [shape("logits", 1, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )


def answers(model: onnx.ModelProto, faces: np.ndarray) -> np.ndarray:
    session = import_onnxruntime().InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["logits"], {"faces": faces})[0])


def test_steps_of_eight_bits_are_as_fine_as_the_faces_and_each_map_allow() -> None:
    """The first convolution gives the face itself, of which what is lighter than its mean is left;
    of the second's four maps each has weights ten times those of the one before."""
    rng = np.random.default_rng(0)
    maps = rng.uniform(-1, 1, (4, 1, 3, 3)) * 10.0 ** np.arange(4)[:, None, None, None]
    tensors = {
        "one": np.ones((1, 1, 1, 1)), "maps": maps, "dense": rng.normal(size=(4, 7)),
    }  # fmt: skip
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["faces", "one"], ["a"], name="first"),
        make("Relu", ["a"], ["b"], name="lighter"),
        make("Conv", ["b", "maps"], ["c"], name="second"),
        make("GlobalAveragePool", ["c"], ["d"], name="pool"),
        make("Flatten", ["d"], ["e"], name="flat"),
        make("Gemm", ["e", "dense"], ["logits"], name="dense"),
    ]
    model = graph_of(nodes, {name: t.astype(np.float32) for name, t in tensors.items()})
    faces = rng.integers(0, 256, (100, 48, 48)).astype(np.uint8)
    level = logging.getLogger().level
    graph = quantised(model, network_input(faces)).graph
    assert logging.getLogger().level == level
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    [weights] = [tensor for tensor in held.values() if tensor.shape == maps.shape]
    assert weights.dtype == np.int8
    # Seven bits in the weights, all of them used in every map, and eight in what goes through.
    assert np.abs(weights.astype(int)).max(axis=(1, 2, 3)).tolist() == pytest.approx(
        [64] * 4, abs=1
    )
    [first] = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in ("a", "b")]
    largest = network_input(faces).max()
    assert 255 * held[first.input[1]] == pytest.approx(largest, rel=0.02)


def test_a_norm_as_a_convolution_says_the_same() -> None:
    rng = np.random.default_rng(0)
    numbers = {name: rng.uniform(0.1, 2, 4).astype(np.float32) for name in "wbmv"}
    kernel = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["faces", "kernel"], ["maps"]),
        make("BatchNormalization", ["maps", *"wbmv"], ["logits"], name="norm", epsilon=0.5),
    ]
    model = graph_of(nodes, {"kernel": kernel, **numbers})
    faces = rng.normal(size=(2, 1, 48, 48)).astype(np.float32)
    before = answers(model, faces)
    _norms_as_convolutions(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
    assert len(model.graph.initializer) == 3  # the norm's own are read no longer
    np.testing.assert_allclose(answers(model, faces), before, atol=1e-5)


# -- files that are no models of ours ---------------------------------------------------------


def other_onnx(path: Path, metadata: dict[str, str]) -> Path:
    node = onnx.helper.make_node("Identity", ["faces"], ["logits"])
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [shape("faces", 1, ["n", 1, 48, 48])], [shape("logits", 1, ["n", 1, 48, 48])]
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def described(labels: Iterable[str], spec: dict[str, object]) -> dict[str, str]:
    return {"semblante": json.dumps({"labels": list(labels), "input": spec, "steps": []})}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "not one of semblante"),
        ({"semblante": "{"}, "damaged"),
        ({"semblante": "[]"}, "damaged"),
        ({"semblante": '{"labels": ["a", "b"], "input": {}}'}, "damaged"),
        (described(["a", "b"], {}), "expected the labels"),
        ({"semblante": "[" * 100_000}, "damaged"),
        (described(EMOTIONS[::-1], {}), "expected the labels"),
        (described(EMOTIONS, {}), "description is incomplete"),
        (
            described(EMOTIONS, asdict(InputSpec())),
            r"expected outputs of shape \(1, 7\) for a face, found \(1, 1, 48, 48\)",
        ),
        (
            described(EMOTIONS, asdict(InputSpec(64))),
            r"cannot classify a face of \(64, 64\)",
        ),
    ],
)
def test_another_onnx_file(tmp_path: Path, metadata: dict[str, str], expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        Classifier(other_onnx(tmp_path / "other.onnx", metadata))


def test_faces_are_standardised_as_the_file_says(tmp_path: Path, patterns: Dataset) -> None:
    model = onnx.load(model_path("rcnn-small-int8"))
    about = json.loads(model.metadata_props[0].value)
    about["input"]["variance_floor"] = 4000.0
    onnx.helper.set_model_props(model, {"semblante": json.dumps(about)})
    onnx.save(model, tmp_path / "other.onnx")
    classifier, faces = Classifier(tmp_path / "other.onnx"), patterns.images[:5]
    inputs = {"faces": network_input(faces, InputSpec(variance_floor=4000.0))}
    [expected] = classifier._session.run(["logits"], inputs)
    np.testing.assert_allclose(classifier.logits(faces), expected, atol=1e-4)
    shipped = Classifier(model_path("rcnn-small-int8")).logits(faces)
    assert np.abs(shipped - expected).max() > 0.1


def test_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match="no such model file"):
        Classifier(path)
    path.write_text("hello")
    with pytest.raises(ModelError, match="not a usable ONNX model") as caught:
        Classifier(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((2, 32, 32), np.uint8),
        np.zeros((48, 48), np.uint8),
        np.zeros((2, 48, 48), np.float32),
    ],
)
def test_faces_of_another_shape(exported: Path, faces: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"expected faces of uint8 \(n, 48, 48\)"):
        Classifier(exported).probabilities(faces)


def test_a_network_for_pictures_of_any_size() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, 2), torch.nn.Conv2d(2, 4, 4)).eval()
    model = onnx_model(network, ["places"], any_size=True)
    session = import_onnxruntime().InferenceSession(model.SerializeToString())
    for shape in ((1, 1, 9, 9), (3, 1, 70, 41)):
        pictures = torch.rand(shape)
        [found] = session.run(["places"], {"faces": pictures.numpy()})
        np.testing.assert_allclose(found, network(pictures).detach().numpy(), atol=1e-5)
