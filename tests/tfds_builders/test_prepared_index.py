"""Which of several prepared sets of one name is found."""

import json
import shutil

import pytest

from tfds_builders import prepared_index
from tfds_builders.options import selection


@pytest.fixture
def root(tmp_path):
    """Indices of one set that was prepared in four ways; they list no files."""
    whole = {"subset": "full", "split_rule": "patient", "variant": "windowed", "kind": "mixed"}
    for name, changes in (
        ("whole", {}),
        ("largest", {"subset": "small"}),
        ("by_slice", {"split_rule": "thesis"}),
        ("lung", {"subset": "small", "split_rule": "thesis", "kind": "lung"}),
    ):
        folder = tmp_path / "a_set" / name / "1.0.0"
        folder.mkdir(parents=True)
        index = {"name": "a_set", "files": {}, "options": {**whole, **changes}}
        (folder / "index.json").write_text(json.dumps(index))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("config", "kind", "found"),
    [
        ("full", "", "whole"),
        ("small", "", "largest"),
        ("full_thesis", "", "by_slice"),
        ("small_thesis", "", "lung"),
        ("", "lung", "lung"),
        ("full", "mixed", "whole"),
    ],
)
def test_the_config_and_the_kind_choose(root, config, kind, found):
    directory = prepared_index.find("a_set", root, selection(config, kind))
    assert directory.parent.name == found


def test_what_does_not_choose_one_is_refused(root):
    with pytest.raises(ValueError, match="a_set is prepared 4 times, pass one directory"):
        prepared_index.find("a_set", root)
    with pytest.raises(ValueError, match=r"a_set is prepared 3 times"):
        prepared_index.find("a_set", root, selection("", "mixed"))
    with pytest.raises(
        ValueError, match=r"not prepared with .*variant=raw, kind=lung in .*so with"
    ):
        prepared_index.find("a_set", root, selection("raw", "lung"))


def test_a_directory_is_taken_as_it_is(root):
    directory = prepared_index.find("a_set", root, selection("small", ""))
    assert prepared_index.find(str(directory), "", selection("full", "lung")) == directory


def test_of_several_versions_the_newest_is_found(root, tmp_path):
    for version in ("10.0.0", "2.3.0"):
        shutil.copytree(tmp_path / "a_set" / "whole" / "1.0.0", tmp_path / "a_set/whole" / version)
    assert prepared_index.find("a_set", root, selection("full", "")).name == "10.0.0"
