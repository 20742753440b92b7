"""Nobody is tested who was trained on: real folders, prepared, changed and prepared again."""

import collections
import shutil

import nibabel as nib
import numpy as np
import pytest

from ecc_jax import admission, config, runs
from ecc_jax.data import pipeline
from ecc_jax.phantom.volumes import generate_volume
from ecc_jax.training import checkpoints
from tfds_builders.preparation import prepare_for

SIZE, DEPTH = 16, 4


def write(folder, scans, *, mirrored=False):
    """Writes a volume for each name: what it holds follows from the number beside the name.

    Label 1 is on every inner slice, label 2 on one of them in three quarters of the scans.
    """
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, content in scans.items():
        rng = np.random.default_rng(content)
        image = rng.integers(-200, 300, (SIZE, SIZE, DEPTH)).astype(np.int16)
        image[:3] = -1000
        label = np.zeros(image.shape, np.uint8)
        y, x = rng.integers(4, 10, 2)
        label[y : y + 5, x : x + 5, 1:3] = 1
        if rng.random() < 0.75:
            label[y + 1 : y + 3, x + 1 : x + 3, rng.integers(1, 3)] = 2
        affine = np.diag([-0.8, -0.8, 3.0, 1.0])
        if mirrored:
            image, label = image[::-1, :, ::-1], label[::-1, :, ::-1]
            affine[:3, 3] = affine[0, 0] * (SIZE - 1), 0, affine[2, 2] * (DEPTH - 1)
            affine[0, 0], affine[2, 2] = -affine[0, 0], -affine[2, 2]
        for kind, array in (("images", image), ("labels", label)):
            nib.save(nib.Nifti1Image(array, affine), folder / kind / f"{name}.nii.gz")
    return folder


def of(folder, root, **data):
    """The configuration of a run on a folder."""
    tree = config.get_config("ct_folder_2d,quick")
    tree.data.path, tree.data.root, tree.data.size = str(folder), str(root), SIZE
    tree.data.lesion_labels, tree.data.allow_empty = (1,), True
    for key, value in data.items():
        tree.data[key] = value
    return runs.as_recorded(tree)


def start(tree, workdir):
    """What training does before its first step."""
    workdir.mkdir(parents=True, exist_ok=True)
    history, admitted = admission.for_training(tree, prepare_for(tree), workdir)
    admission.write_record(history, workdir)
    return admitted


def evaluate(tree, workdir, overrides):
    """The volumes that an evaluation would test, and what it says of who was seen."""
    merged = runs.as_recorded(runs.merge_for_evaluation(tree, None, overrides))
    directory = prepare_for(merged)
    merged, admitted = admission.for_evaluation(
        merged, directory, workdir, saved=tree, overrides=overrides
    )
    folds = pipeline.Folds(merged.data.folds, merged.data.fold, merged.data.split_seed)
    rows = pipeline.open_split(directory, merged.data.split, folds=folds).index
    return {row["volume"] for row in rows if row["patient"] not in admitted.left_out}, admitted


def shaped_by(tree, root):
    """The volumes that a run trains on or is selected by, straight from its prepared data."""
    folds = pipeline.Folds(tree.data.folds, tree.data.fold, tree.data.split_seed)
    directory = prepare_for(tree)
    return {
        row["volume"]
        for split in ("train", "validation")
        for row in pipeline.open_split(directory, split, folds=folds).index
    }


SCANS = {f"case_{i}": i for i in range(8)}


@pytest.fixture
def run(tmp_path):
    """A run in three folds on eight scans: configuration and workdir."""
    tree = of(write(tmp_path / "ct", SCANS), tmp_path / "root", folds=3)
    start(tree, tmp_path / "run")
    return tree, tmp_path / "run"


def test_own_data_and_a_copy_of_them_test_the_same_patients(run, tmp_path):
    tree, workdir = run
    own, admitted = evaluate(tree, workdir, {})
    assert own and "none of these patients" in admitted.note
    assert not own & shaped_by(tree, tmp_path)
    shutil.copytree(tmp_path / "ct", tmp_path / "home")
    assert evaluate(tree, workdir, {"data.path": str(tmp_path / "home")})[0] == own


def test_data_of_which_the_run_has_seen_nobody_are_not_divided_into_its_folds(run, tmp_path):
    tree, workdir = run
    other = write(tmp_path / "other", {name: 100 + i for name, i in SCANS.items()})
    volumes, admitted = evaluate(tree, workdir, {"data.path": str(other), "data.split": "all"})
    assert volumes == set(SCANS) and admitted.left_out == ()
    some, _ = evaluate(tree, workdir, {"data.path": str(other)})
    split = pipeline.open_split(prepare_for(of(other, tmp_path / "root")), "test")
    assert some == {row["volume"] for row in split.index}


@pytest.mark.parametrize("change", ["grown", "shrunk", "renamed", "mirrored", "unsplit"])
def test_changed_data_are_refused_or_the_seen_patients_left_out(run, tmp_path, change):
    tree, workdir = run
    seen = shaped_by(tree, tmp_path)
    names = dict(SCANS)
    if change == "grown":
        names |= {f"new_{i}": 50 + i for i in range(4)}
    elif change == "shrunk":
        names = {name: i for name, i in SCANS.items() if i != min(SCANS[n] for n in seen)}
    elif change == "renamed":
        names = {f"p{content:03d}": content for content in SCANS.values()}
    other = write(tmp_path / "other", names, mirrored=change == "mirrored")
    given = {"data.path": str(other), "data.split": "all"}
    volumes, admitted = evaluate(tree, workdir, given)
    contents = {names[volume] for volume in volumes}
    assert contents == set(names.values()) - {SCANS[name] for name in seen}
    assert f"{len(admitted.left_out)} of {len(names)} patients, left out" in admitted.note
    refused = 0
    for fold in range(3):
        part = {"data.path": str(other), "data.fold": fold}
        if change == "unsplit":
            part = {"data.path": str(other), "data.folds": 0, "data.fold": 0}
        try:
            volumes, _ = evaluate(tree, workdir, part)
        except ValueError as error:
            assert "data.split=all" in str(error)
            refused += 1
        else:
            assert not {names[volume] for volume in volumes} & {SCANS[name] for name in seen}
    assert refused >= 2


def test_who_belongs_together_stays_as_it_was_trained(run, tmp_path):
    tree, workdir = run
    with pytest.raises(ValueError, match="patient_regex=.* the run was trained with"):
        runs.merge_for_evaluation(tree, None, {"data.patient_regex": r"_\d$"})
    beside = of(tmp_path / "ct", tmp_path / "root", patient_regex=r"_\d$")
    assert runs.merge_for_evaluation(tree, beside, {}).data.patient_regex == ""
    shutil.copytree(tmp_path / "ct", tmp_path / "copy")
    volumes, admitted = evaluate(
        tree,
        workdir,
        {
            "data.path": str(tmp_path / "copy"),
            "data.patient_regex": r"_[0-3]|_",  # case_0 to case_3 by number, the rest together
            "data.split": "all",
        },
    )
    assert not volumes & shaped_by(tree, tmp_path)


def test_resume_refuses_other_patients(run, tmp_path):
    tree, workdir = run
    write(tmp_path / "ct", {f"new_{i}": 50 + i for i in range(4)})
    start(tree, workdir)  # nothing was saved yet, so this is a new beginning
    checkpoints.save_weights(
        workdir, {"params": {"kernel": np.zeros(2, np.float32)}, "batch_stats": {}}
    )
    start(tree, workdir)
    write(tmp_path / "ct", {f"late_{i}": 70 + i for i in range(6)})
    with pytest.raises(ValueError, match=r"data changed since .* gained .*another --workdir"):
        start(tree, workdir)
    for kind in ("images", "labels"):
        for i in range(6):
            (tmp_path / "ct" / kind / f"late_{i}.nii.gz").unlink()
    start(tree, workdir)


def test_weights_carry_whom_they_have_seen(run, tmp_path):
    tree, workdir = run
    seen = shaped_by(tree, tmp_path)
    names = {f"x{content}": content for content in range(4, 16)}
    known = {f"x{SCANS[name]}" for name in seen} & set(names)
    later = of(write(tmp_path / "other", names), tmp_path / "root", split="all")
    later.model.pretrained = str(workdir)
    admitted = start(later, tmp_path / "later")
    assert known <= set(admitted.left_out)
    # Weights of weights: whom the first run has seen is known two steps on.
    third = of(
        write(tmp_path / "third", {f"y{c}": c for c in range(16)}), tmp_path / "root", split="all"
    )
    third.model.pretrained = str(tmp_path / "later")
    admitted = start(third, tmp_path / "last")
    assert {f"y{SCANS[name]}" for name in seen} <= set(admitted.left_out)


def test_the_same_scan_under_two_names_is_refused_where_splits_would_share_it(tmp_path):
    twice = {f"{side}{i}": i for i in range(6) for side in "ab"}
    tree = of(write(tmp_path / "ct", twice), tmp_path / "root")
    with pytest.raises(ValueError, match=r"same scan under two names.*patient_regex"):
        start(tree, tmp_path / "run")
    tree.data.patient_regex = r"\d"
    start(tree, tmp_path / "run")


def test_a_run_without_record_is_evaluated_and_says_so(run, tmp_path):
    tree, workdir = run
    (workdir / admission.RECORD_FILE).unlink()
    assert evaluate(tree, workdir, {})[1].note == admission.NOT_RECORDED
    (workdir / admission.RECORD_FILE).write_text("[{")
    with pytest.raises(ValueError, match=r"seen.json is damaged"):
        evaluate(tree, workdir, {})


def test_weights_without_record_are_said_to_be_of_unknown_origin(run, tmp_path):
    tree, workdir = run
    (workdir / admission.RECORD_FILE).unlink()
    tree.model.pretrained = str(workdir)
    later = tmp_path / "later"
    assert f"({workdir}) have no record" in start(tree, later).note
    assert f"({workdir}) have no record" in evaluate(tree, later, {})[1].note
    (later / admission.RECORD_FILE).unlink()
    checkpoints.save_weights(
        later, {"params": {"kernel": np.zeros(2, np.float32)}, "batch_stats": {}}
    )
    assert start(tree, later).note == admission.NOT_RECORDED


def test_another_way_to_name_patients_is_refused_on_the_own_data(run):
    tree, workdir = run
    with pytest.raises(ValueError, match=r"patient_regex='x': the run was trained with"):
        evaluate(tree, workdir, {"data.patient_regex": "x", "data.split": "all"})


PHANTOM = {"size": 32, "phantom_patients": 6, "phantom_kind": "all"}


def of_phantom(root, **data):
    """The configuration of a run on synthetic patients."""
    tree = config.get_config("quick")
    tree.data.root = str(root)
    for key, value in {**PHANTOM, **data}.items():
        tree.data[key] = value
    return runs.as_recorded(tree)


@pytest.mark.parametrize("rule", ["patient", "thesis"])
def test_synthetic_patients_are_known_in_another_size_and_kind(tmp_path, rule):
    tree = of_phantom(tmp_path / "root", split_rule=rule)
    start(tree, tmp_path / "run")
    own, admitted = evaluate(tree, tmp_path / "run", {})
    assert own and not admitted.left_out
    organs = {
        f"phantom_{patient:05d}": generate_volume(0, patient, kind="all", size=32).kind
        for patient in range(6)
    }
    # Where an extremity was, `mixed` draws another body.
    known = {name for name in shaped_by(tree, tmp_path) if organs[name] != "limb"}
    assert 0 < len(known) < 6
    changed = {"data.size": 40, "data.phantom_kind": "mixed"}
    volumes, admitted = evaluate(tree, tmp_path / "run", {**changed, "data.split": "all"})
    assert set(admitted.left_out) == known and volumes == set(organs) - known
    with pytest.raises(ValueError, match=r"has seen \d of the \d patients of split 'train'"):
        evaluate(tree, tmp_path / "run", {**changed, "data.split": "train"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*label value 2 is missing in:UserWarning")
def test_no_leak_in_two_hundred_random_folders_and_changes(tmp_path):
    """Folders, splits and changes at random; who is tested was never trained on or selected by."""
    outcomes = collections.Counter()
    for seed in range(200):
        outcomes[_one_world(np.random.default_rng(seed), tmp_path / str(seed))] += 1
        shutil.rmtree(tmp_path / str(seed))
    assert sum(outcomes.values()) == 200
    assert outcomes["tested"] > 50 and outcomes["refused"] > 30, outcomes


def _one_world(rng, place):
    """Trains, changes everything that may change, evaluates; returns what came of it."""
    names = {f"case_{i:02d}": int(i) for i in range(rng.integers(6, 12))}
    folds = int(rng.choice([0, 2, 3]))
    data = {"folds": folds, "fold": int(rng.integers(0, max(folds, 1)))}
    data |= {"split_seed": int(rng.integers(0, 3)), "subset": str(rng.choice(["full", "small"]))}
    if rng.random() < 0.3:
        data["patient_regex"] = r"^case_\d(\d)"  # case_00 and case_10 are one
    tree = of(write(place / "ct", names), place / "root", **data)
    start(tree, place / "run")
    shaped = {names[name] for name in shaped_by(tree, place)}
    now = {name: content for name, content in names.items() if rng.random() < 0.9}
    if rng.random() < 0.5:
        now |= {f"new_{i}": 50 + i for i in range(rng.integers(1, 5))}
    if rng.random() < 0.3:
        now = {f"z{rng.integers(10**6)}": content for content in now.values()}
    overrides = {"data.split": str(rng.choice(["test", "test", "all"]))}
    folder = place / str(rng.choice(["ct", "elsewhere"]))
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, now, mirrored=rng.random() < 0.3)
    overrides["data.path"] = str(folder)
    choices = {
        "split_seed": int(rng.integers(0, 3)),
        "subset": str(rng.choice(["full", "small"])),
        "patient_regex": str(rng.choice(["", r"\d$"])),
        "lesion_labels": (2,),
        "variant": "raw",
        "size": 20,
        "folds": 0,
    }
    for key, value in choices.items():
        if rng.random() < 0.25:
            overrides[f"data.{key}"] = value
    if overrides.get("data.folds") == 0:
        overrides["data.fold"] = 0
    try:
        volumes, _ = evaluate(tree, place / "run", overrides)
    except ValueError:
        return "refused"
    leaked = {now[volume] for volume in volumes} & shaped
    assert volumes and not leaked, (overrides, leaked)
    return "tested"
