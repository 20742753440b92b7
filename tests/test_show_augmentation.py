"""scripts/show_augmentation.py on a dataset that was just prepared."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.loading import load
from tests.preparing import prepare
from tfds_builders.options import DataOptions

SCRIPT = Path(__file__).parents[1] / "scripts" / "show_augmentation.py"


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


@pytest.mark.slow
def test_the_sheet_has_an_outline_in_every_panel(script, small_folder, tmp_path, capsys):
    options = DataOptions("ct_folder_2d", root=str(tmp_path), path=str(small_folder), size=40)
    directory, out = prepare(options), tmp_path / "new" / "sheet.png"
    arguments = [str(directory), "--split", "train", "--slices", "2", "--out", str(out)]
    assert script.main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out) and "of a slice's sides" in said.err
    sheet = matplotlib.image.imread(out)[..., :3]
    yellow = np.abs(sheet - [1.0, 0.88, 0.0]).max(-1) < 0.1
    # Two rows of six panels: slice, Target Crop and four strategies.
    parts = [part for row in np.array_split(yellow, 2) for part in np.array_split(row, 6, axis=1)]
    assert min(part.sum() for part in parts) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kits_2d", "--root", "nowhere"], "error: no prepared dataset in"),
        (["nonsense", "--root", "nowhere"], "error: no prepared dataset in"),
    ],
)
def test_nothing_prepared_is_one_line(script, arguments, message, capsys):
    assert script.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(message) and said.count("\n") == 1


def test_help_and_mistyped_arguments(script, capsys):
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0 and "Target Crop" in capsys.readouterr().out
    for wrong in (["--slices", "0"], ["--bounds", "0.1"], ["--split", "all"]):
        with pytest.raises(SystemExit) as ended:
            script.main(wrong)
        assert ended.value.code == 2 and wrong[0] in capsys.readouterr().err
