"""Commands that are run once: what counts as done before, and what does not."""

import json
import subprocess
import types

import pytest

from ecc_jax import commands


@pytest.fixture
def ran(monkeypatch):
    """What was started, in place of being run; `code` is what it returns."""
    state = types.SimpleNamespace(commands=[], code=0)

    def run(command, **options):
        state.commands.append(list(command))
        return types.SimpleNamespace(returncode=state.code)

    monkeypatch.setattr(subprocess, "run", run)
    return state


def once(mark, *arguments, python="python", **options):
    return commands.run_once([python, *arguments], {}, mark=mark, **options)


def test_the_same_settings_are_run_once_by_any_python_and_wherever_results_go(ran, tmp_path):
    mark, said = tmp_path / "mark.json", []
    assert once(mark, "-m", "x", "--workdir=/a", "--config.seed=1", say=said.append) == 0
    assert once(mark, "-m", "x", "--workdir=/b", "--config.seed=1", say=said.append) == 0
    assert once(mark, "-m", "x", "--out=/c", "--config.seed=1", python="/other/python") == 0
    assert len(ran.commands) == 1 and said == ["python -m x --workdir=/a --config.seed=1"]
    assert once(mark, "-m", "x", "--workdir=/a", "--config.seed=2") == 0
    assert len(ran.commands) == 2


def test_a_failure_is_not_done(ran, tmp_path):
    ran.code = 3
    for _ in range(2):
        assert once(tmp_path / "mark.json", "x") == 3
    assert len(ran.commands) == 2 and not (tmp_path / "mark.json").exists()


def test_what_a_command_makes_has_to_be_there(ran, tmp_path):
    mark, product = tmp_path / "mark.json", tmp_path / "summary.json"
    assert once(mark, "x", product=product) == 0 and not mark.exists()
    product.touch()
    for _ in range(2):
        assert once(mark, "x", product=product) == 0
    assert len(ran.commands) == 2
    product.unlink()
    assert not commands.is_done(["python", "x"], mark=mark, product=product)
    assert commands.is_done(["python", "x"], mark=mark)


def test_marks_that_hold_the_whole_command_count(ran, tmp_path):
    mark = tmp_path / "mark.json"
    mark.write_text(json.dumps(["-m", "x", "--workdir=/a", "--config.seed=1"]))
    assert commands.settings_in(mark) == ["-m", "x", "--config.seed=1"]
    assert once(mark, "-m", "x", "--workdir=/a", "--config.seed=1") == 0 and not ran.commands
    assert commands.settings_in(tmp_path / "none.json") is None
