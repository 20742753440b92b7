"""scripts/benchmark.py: figures are there and mean what they say."""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from tests.loading import load

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark.py"


@pytest.fixture(scope="module")
def benchmark():
    return load(SCRIPT)


def test_median_leaves_out_the_warm_up(benchmark):
    naps = iter([0.2, 0.01, 0.03, 0.02])
    result = benchmark.median_seconds(lambda: time.sleep(next(naps)), 3)
    assert result["median_s"] == pytest.approx(0.02, abs=0.009)
    assert result["min_s"] < 0.02


def test_clicks_benchmark_writes_json(benchmark, tmp_path, monkeypatch, capsys):
    path = tmp_path / "clicks.json"
    arguments = "benchmark.py clicks --batch 2 --size 32 32 --repeats 1 --json"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(path)])
    benchmark.main()
    report = json.loads(path.read_text())
    assert report["results"]["next_click"]["median_s"] > 0
    assert report["device"].endswith("cores")
    assert "next_click" in capsys.readouterr().out


def test_recipes_are_timed_as_they_are_configured(benchmark, tmp_path, monkeypatch):
    (tmp_path / "my leaves").mkdir()
    recipe = tmp_path / "my leaves" / "tiny.py"
    recipe.write_text(
        "from configs import ecc\n"
        "def get_config(arg=''):\n"
        "    tree = ecc.get_config(arg)\n"
        "    tree.model.name = 'disk_tiny'\n"
        "    tree.train.batch_size, tree.data.size = 4, 32\n"
        "    return tree\n"
    )
    arguments = ["recipes", "--repeats", "1", "--json", str(tmp_path / "recipes.json")]
    word = f"{recipe}:quick model.grid=16 train.jitter=0"
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments, "--recipes", word])
    benchmark.main()
    results = json.loads((tmp_path / "recipes.json").read_text())["results"]
    step = results[f"{word}, train step"]
    assert step["rows_per_s"] == pytest.approx(4 / step["mean_s"])
    assert step["sd_of_mean_s"] < step["mean_s"]
    for which in ("first", "later"):
        click = results[f"{word}, {which} click"]
        assert 0 < click["median_s"] < click["compile_s"]


def test_data_benchmark_reads_prepared_slices(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    arguments = "benchmark.py data --batch 4 --size 32 32 --repeats 1 --json"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path / "data.json")])
    benchmark.main()
    results = json.loads((tmp_path / "data.json").read_text())["results"]
    assert results["random records"]["slices_per_s"] > 10
    assert len(results) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --batch 1", "--batch must be at least 2 for train, got 1"),
        ("clicks --batch 0", "--batch must be at least 1"),
        ("clicks --repeats 0", "must be at least 1"),
        ("recipes --recipes configs/nobody.py", "configs/nobody.py is no file"),
        ("recipes --recipes configs/ecc.py:fast", "fast"),
        ("recipes --recipes 'configs/ecc.py:quick model.girth=9'", "unknown config key"),
        ("recipes --recipes 'configs/ecc.py:quick model.grid=wide'", "model.grid=wide"),
        ("recipes --recipes 'configs/ecc.py:quick model.grid'", "model.grid"),
        ("clicks --json nowhere/clicks.json", "nowhere is not a folder"),
    ],
)
def test_bad_arguments_are_refused_before_work(benchmark, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *shlex.split(arguments)])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
