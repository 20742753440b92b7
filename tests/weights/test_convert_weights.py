"""conversion.py and its script: from a weight file to a folder that training starts from."""

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ecc_jax import checks, conversion, runs
from ecc_jax import config as schema
from ecc_jax.models.build import build, init_variables
from ecc_jax.training import checkpoints
from ecc_jax.weights.state_dict import export_state_dict, import_state_dict
from tests.loading import load
from tests.torch_files import Parameter, write, write_safetensors

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_weights.py"
NAME = "ritm_tiny"
CONFIG = {
    "class": "isegm.model.is_hrnet_model.HRNetModel",
    "params": {"use_leaky_relu": {"type": "bool", "value": True, "specified": True}},
}


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


@pytest.fixture(scope="module")
def state_dict():
    return export_state_dict(NAME, init_variables(build(NAME), 1))


@pytest.fixture(scope="module")
def converted(state_dict, tmp_path_factory):
    """(source, folder, summary) of a converted RITM checkpoint."""
    folder = tmp_path_factory.mktemp("weights")
    source = folder / "tiny_itermask.pth"
    write(
        source, {"state_dict": {k: Parameter(v) for k, v in state_dict.items()}, "config": CONFIG}
    )
    return (
        source,
        folder / "new" / "tiny",
        conversion.convert(source, folder / "new" / "tiny"),
    )


def _run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    return script.main()


def test_converted_network_gives_the_same_outputs(converted, state_dict):
    _, dest, _ = converted
    model = build(NAME)
    step, variables = checkpoints.best_variables(dest, init_variables(model, 0))
    assert step == 0
    direct = import_state_dict(NAME, state_dict)
    image = np.random.default_rng(0).uniform(size=(1, 32, 32, 3)).astype(np.float32)
    apply = jax.jit(model.apply)
    got, want = (apply(v, image, image[..., :2], image[..., :1]) for v in (variables, direct))
    np.testing.assert_array_equal(got.logits, want.logits)
    np.testing.assert_array_equal(got.aux_logits, want.aux_logits)
    assert np.std(want.logits) > 0


def test_summary_tells_source_model_and_every_tensor(converted, state_dict):
    source, dest, summary = converted
    weights = sorted(key for key in state_dict if not key.endswith("num_batches_tracked"))
    assert summary == {
        "source": source.name,
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "model": NAME,
        "kind": "whole network",
        "placed": weights,
        "ignored": [],
        "missing": [],
        "counters": sorted(state_dict.keys() - set(weights)),
    }
    assert summary["counters"]
    assert json.loads((dest / "conversion.json").read_text()) == summary
    config = runs.load_config(dest)
    assert (config.model.name, config.clicks.radius) == (NAME, "fixed")
    checks.validate(config)


@pytest.mark.parametrize(
    ("name", "pipeline", "encoding"),
    [("unetpp_resnet18", "full_frame", "gaussian"), ("focalclick_tiny", "focalclick", "disk")],
)
def test_other_families_are_used_as_they_were_trained(name, pipeline, encoding, tmp_path):
    fresh = init_variables(build(name), 0)
    source = write_safetensors(tmp_path / "all.safetensors", export_state_dict(name, fresh))
    conversion.convert(source, tmp_path / "out")
    config = runs.load_config(tmp_path / "out")
    checks.validate(config)
    assert (config.model.name, config.clicks.radius, config.train.radius) == (
        name,
        "fixed",
        "fixed",
    )
    assert (config.inference.pipeline, config.model.encoding) == (pipeline, encoding)


def test_trunk_weights_are_completed_and_the_lists_printed(
    script, state_dict, tmp_path, monkeypatch, capsys
):
    head = ("conv3x3_ocr", "ocr_distri_head", "cls_head", "aux_head")
    trunk = {
        key.removeprefix("feature_extractor."): value
        for key, value in state_dict.items()
        if key.startswith("feature_extractor.") and key.split(".")[1] not in head
    }
    trunk["classifier.weight"] = np.zeros((2, 2), np.float32)
    source = write_safetensors(tmp_path / "w4.safetensors", trunk)
    assert _run(script, monkeypatch, source, tmp_path / "out", "--model", NAME) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "source   w4.safetensors (HRNet trunk)"
    assert lines[2] == f"model    {NAME}"
    assert lines[4] == "ignored  1 tensors: classifier.* (1)"
    assert lines[5].endswith("batch counters (num_batches_tracked), which nothing reads")
    assert "maps_transform.* (5)" in lines[6] and "ocr_distri_head.*" in lines[6]
    assert "train before use" in lines[7]
    assert lines[-1] == str(tmp_path / "out")
    with pytest.raises(ValueError, match=r"out lacks \d+ tensors, among them feature.*train from"):
        runs.evaluate(None, {}, lambda _: pytest.fail("data were prepared"), str(tmp_path / "out"))
    fresh = init_variables(build(NAME), 0)
    _, variables = checkpoints.best_variables(tmp_path / "out", fresh)
    kernel = variables["params"]["trunk"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, trunk["conv1.weight"].transpose(2, 3, 1, 0))
    scale = variables["params"]["fusion"]["maps_transform_3"]["multiplier"]
    np.testing.assert_array_equal(
        scale, fresh["params"]["fusion"]["maps_transform_3"]["multiplier"]
    )


def test_mistakes_are_one_line(script, converted, tmp_path, monkeypatch, capsys):
    source, dest, _ = converted
    broken = tmp_path / "broken.pth"
    broken.write_bytes(source.read_bytes()[:-50])
    relu = write(
        tmp_path / "relu.pth",
        {"state_dict": {}, "maps_transform.0.bias": np.ones(16, np.float32)},
    )
    for arguments, message in (
        ((broken, tmp_path / "a"), "broken.pth: its zip archive is truncated"),
        ((tmp_path / "none.pth", tmp_path / "a"), "none.pth is not a file"),
        ((source, tmp_path / "a", "--model", "ritm_hrnet18s"), "do not fit ritm_hrnet18s: "),
        ((relu, tmp_path / "a"), "no tensors"),
        ((source, tmp_path), "holds no weights; choose another DEST"),
        ((source, tmp_path, "--force"), "holds no weights; choose another DEST"),
        ((source, source), "holds no weights; choose another DEST"),
        ((source, source.parent, "--force"), "holds the source; choose another DEST"),
    ):
        assert _run(script, monkeypatch, *arguments) == 1, arguments
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith("error: ") and message in line, line
        assert captured.out == ""
        assert not (tmp_path / "a").exists()


def test_options_of_the_checkpoint_are_checked(state_dict, tmp_path):
    config = {"params": {"use_leaky_relu": {"value": False}}}
    source = write(tmp_path / "relu.pth", {"state_dict": state_dict, "config": config})
    with pytest.raises(ValueError, match="relu.pth: the weights were trained with use_leaky_relu"):
        conversion.convert(source, tmp_path / "out")


def test_an_earlier_conversion_is_replaced_but_not_a_run(converted, tmp_path):
    source, _, _ = converted
    dest = tmp_path / "dest"
    dest.mkdir()
    for _ in range(2):  # into an empty folder, and over the first
        conversion.convert(source, dest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dest"]
    (dest / "report").mkdir()
    with pytest.raises(ValueError, match="holds a run or reports; .* --force"):
        conversion.convert(source, dest)
    (dest / "conversion.json").unlink()  # now it looks like a run
    with pytest.raises(ValueError, match="holds a run or reports; .* --force"):
        conversion.convert(source, dest)
    conversion.convert(source, dest, force=True)
    assert not (dest / "report").exists()


def _start(folder, workdir, **model):
    config = schema.default()
    config.model.pretrained = str(folder)
    config.model.update(model)
    return runs.train(config, lambda _: pytest.fail("data were prepared"), str(workdir))


def test_training_refuses_weights_of_another_network_before_anything_else(converted, tmp_path):
    source, dest, _ = converted
    message = f"weights of model.name={NAME}, but model.name is ritm_hrnet32; set --config.model"
    with pytest.raises(ValueError, match=message):
        _start(dest, tmp_path / "run")
    with pytest.raises(ValueError, match="is a file; convert it first with python scripts/conv"):
        _start(source, tmp_path / "run")
    with pytest.raises(ValueError, match="holds converted weights; choose another --workdir"):
        _start(dest, dest, name=NAME)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        _start(tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
