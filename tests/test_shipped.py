"""The weights that come with the package, and runs that are exported like them."""

import json

import jax
import numpy as np
import pytest

from ecc_jax import admission, config, export, places, runs, workdir
from ecc_jax.admission import RECORD_FILE
from ecc_jax.data.seen import SHAPING, Scans, Seen, Source, to_json
from ecc_jax.phantom import volumes as phantom
from ecc_jax.settings import segmenter_of
from ecc_jax.training import checkpoints
from tfds_builders.options import DataOptions
from tfds_builders.preparation import prepare, prepare_for

FOLDER = places.SHIPPED_FOLDER
MEGABYTE = 10**6


def refusal(call):
    """The one line with which something is refused."""
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ball(noise, *, size=96, radius=11, contrast=60):
    yy, xx = np.mgrid[:size, :size]
    target = np.hypot(yy - 45, xx - 51) < radius
    grain = np.random.default_rng(0).normal(0, noise, target.shape)
    return (target * contrast + grain).astype(np.float32), target


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(scope="module")
def predictor():
    return runs.load_predictor("shipped")


def test_weights_are_small_whole_and_tell_no_paths():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10 * MEGABYTE
    (step,) = checkpoints.complete_steps(FOLDER / "checkpoints")
    checkpoints.verify_manifest(FOLDER / "checkpoints" / str(step))
    saved = workdir.load_config(FOLDER)
    assert (saved.data.path, saved.data.root, saved.model.pretrained) == ("", "", "")
    for path in files:
        assert b"/tmp/" not in path.read_bytes() and b"/home/" not in path.read_bytes(), path
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for needed in ("CC BY 3.0", "LIDC-IDRI", "Soft-tissue-Sarcoma", "not for diagnosis"):
        assert needed in card


def test_they_are_of_the_recipe_that_is_named():
    recipe, saved = workdir.as_recorded(config.flagship("shipped")), workdir.load_config(FOLDER)
    for group in ("augment", "clicks", "inference", "loss", "model", "optimizer", "train"):
        assert saved[group].to_dict() == recipe[group].to_dict(), group


def test_who_was_trained_on_is_written_down_without_the_test_half():
    (record,) = json.loads((FOLDER / RECORD_FILE).read_text(encoding="utf-8"))
    trained = record["patients"]["train"]
    assert sum("LIDC" in name for name in trained) == 143
    assert all(scans["volumes"] and scans["slices"] for scans in trained.values())


def numbers_of(record, split):
    """The numbers of the synthetic patients in a split of the record."""
    names = [name for name in record["patients"][split] if "phantom" in name]
    return {int(name.rpartition("_")[2]): record["patients"][split][name] for name in names}


def test_synthetic_patients_are_recorded_by_what_they_were_drawn_from():
    (record,) = json.loads((FOLDER / RECORD_FILE).read_text(encoding="utf-8"))
    for split, count in (("train", 111), ("validation", 19)):
        found = numbers_of(record, split)
        assert len(found) == count
        for number, scans in found.items():
            identity = phantom.identity_of_patient(0, number, kind="all")
            assert list(scans["volumes"].values()) == [identity]


def test_synthetic_patients_that_were_seen_are_not_tested_in_any_size(tmp_path):
    saved = workdir.load_config(FOLDER)
    overrides = {
        "data.name": "ct_phantom_2d",
        "data.root": str(tmp_path),
        "data.size": 32,
        "data.phantom_kind": "all",
        "data.phantom_patients": 24,
        "data.split": "all",
    }
    merged = runs.as_recorded(runs.merge_for_evaluation(saved, None, overrides))
    directory = prepare_for(merged)

    def admitted(tree):
        return admission.for_evaluation(tree, directory, FOLDER, saved=saved, overrides=overrides)[
            1
        ]

    (record,) = json.loads((FOLDER / RECORD_FILE).read_text(encoding="utf-8"))
    seen = [n for split in SHAPING for n in numbers_of(record, split) if n < 24]
    assert 0 < len(seen) < 24
    assert admitted(merged).left_out == tuple(f"phantom_{n:05d}" for n in sorted(seen))
    assert f"{len(seen)} of 24 patients, left out" in admitted(merged).note
    merged.data.split = "test"
    assert "data.split=all tests the others" in refusal(lambda: admitted(merged))


def test_the_answer_follows_what_is_seen_and_not_the_disk(predictor):
    """An oblong lesion under the average disk, which is too wide one way, too short the other."""
    yy, xx = np.mgrid[:96, :96]
    target = np.hypot((yy - 45) / 8, (xx - 51) / 16) < 1
    noise = np.random.default_rng(0).normal(0, 12, target.shape)
    image = (60.0 * target + noise).astype(np.float32)
    predictor.set_image(image, window_hu=(-150, 250))
    mask = predictor.add_click(45, 51, 12.0)
    disk = np.hypot(yy - 45, xx - 51) < 12
    assert overlap(mask, target) > overlap(disk, target) + 0.15
    predictor.undo()
    assert overlap(predictor.redo(), mask) == 1


def test_every_click_counts(predictor):
    image, _ = ball(noise=30)
    predictor.set_image(image, window_hu=(-150, 250))
    predictor.add_click(45, 51, 9.0)
    mask = predictor.add_click(45, 80, 3.0)  # background that the user calls lesion
    assert mask[45, 80]
    mask = predictor.add_click(45, 51, 3.0, False)  # lesion that the user calls background
    assert not mask[45, 51] and mask[45, 80]


def test_the_shipped_run_takes_no_report():
    message = refusal(lambda: runs.evaluate(None, {}, lambda tree: FOLDER, "shipped"))
    assert "takes no report" in message and "--out=DIR" in message


def test_a_folder_of_that_name_goes_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places.run_folder("shipped") == FOLDER
    (tmp_path / "shipped").mkdir()
    assert places.run_folder("shipped").resolve() == tmp_path / "shipped"


def test_own_folders_start_from_it_and_other_networks_are_refused():
    tree = config.flagship("ct_folder_2d,quick")
    assert tree.model.pretrained == "shipped"
    workdir.check_pretrained(tree)
    assert workdir.as_recorded(tree).model.pretrained == "shipped"
    assert config.flagship("quick").model.pretrained == ""
    for key, value in (("grid", 96), ("prior", "none"), ("name", "disk_tiny")):
        other = config.flagship("ct_folder_2d")
        other.model[key] = value
        assert f"model.{key}" in refusal(lambda other=other: workdir.check_pretrained(other))


@pytest.fixture
def tiny_run(tmp_path):
    """A run of a tiny flagship of which only the weights are trained."""
    tree = config.flagship()
    tree.model.name = "disk_tiny"
    tree.data.path = str(tmp_path / "data")
    run = tmp_path / "run"
    variables = segmenter_of(tree).init_variables(3)
    checkpoints.save_weights(run, variables, step=7, score=0.25)
    workdir.write_config(tree, run)
    patients = {split: {f"{split}_1": Scans({"v": "a"}, ["b"])} for split in SHAPING}
    seen = Seen(str(run), Source("ct_folder_2d", str(tmp_path / "data"), by_slice=False), patients)
    (run / RECORD_FILE).write_text(json.dumps(to_json([seen])), encoding="utf-8")
    return run, variables


def test_export_keeps_weights_step_and_patients_and_forgets_paths(tiny_run, tmp_path):
    run, variables = tiny_run
    dest = tmp_path / "weights"
    assert export.export(run, dest)[0] == 7
    assert 0 < sum(p.stat().st_size for p in dest.rglob("*") if p.is_file()) < MEGABYTE
    step, again = checkpoints.best_variables(dest, variables)
    assert step == 7
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    for path in dest.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
    (record,) = json.loads((dest / RECORD_FILE).read_text(encoding="utf-8"))
    assert record["source"]["place"] == "weights" and "train_1" in record["patients"]["train"]
    assert "choose another DEST" in refusal(lambda: export.export(run, dest))


def test_export_without_a_record_is_refused(tiny_run, tmp_path):
    run, _ = tiny_run
    (run / RECORD_FILE).unlink()
    assert RECORD_FILE in refusal(lambda: export.export(run, tmp_path / "weights"))


def test_export_takes_identities_from_prepared_data_that_hold_its_patients(tiny_run, tmp_path):
    run, _ = tiny_run
    options = DataOptions("ct_phantom_2d", root=str(tmp_path), size=32, num_patients=4)
    directory = prepare(options, progress=False)
    call = {"dest": tmp_path / "weights", "prepared": [directory]}
    assert "holds no patient that" in refusal(lambda: export.export(run, **call))
    assert not call["dest"].exists()
    index = json.loads((directory / "index.json").read_text(encoding="utf-8"))["splits"]["train"]
    record = json.loads((run / RECORD_FILE).read_text(encoding="utf-8"))
    trained = record[0]["patients"]["train"]["train_1"]
    trained["slices"] = [
        i
        for i, name in zip(index["slice_id"], index["patient"], strict=True)
        if name == index["patient"][0]
    ]
    (run / RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")
    export.export(run, **call)
    (record,) = json.loads((call["dest"] / RECORD_FILE).read_text(encoding="utf-8"))
    number = int(index["patient"][0].rpartition("_")[2])
    identity = phantom.identity_of_patient(0, number)
    assert record["patients"]["train"]["train_1"]["volumes"] == {"v": identity}
    assert record["patients"]["validation"]["validation_1"]["volumes"] == {"v": "a"}
