"""Masks to begin with: files and their mistakes."""

import functools

import jax
import numpy as np
import pytest

from ecc_jax.evaluation import masks as files


def test_blank_image_has_the_mean_and_nothing_else():
    image = jax.random.uniform(jax.random.key(0), (3, 8, 9, 1))
    blank = files.mean_image(image)
    assert blank.shape == image.shape
    np.testing.assert_allclose(blank[:, 4, 5, 0], image.mean(axis=(1, 2, 3)), rtol=1e-6)
    assert np.ptp(np.asarray(blank), axis=(1, 2, 3)).max() == 0


def _rows(count):
    return [{"volume": f"v{i // 2}", "slice_index": i} for i in range(count)]


def test_masks_come_back_from_their_file(tmp_path):
    masks = np.random.default_rng(0).random((5, 8, 8)) < 0.3
    files.write_masks(tmp_path / "masks.npz", _rows(5), masks)
    found = files.read_masks(tmp_path / "masks.npz", size=8)
    for row, mask in zip(_rows(5), masks):
        np.testing.assert_array_equal(found.of(row), mask)
    with pytest.raises(ValueError, match=r"masks.npz holds no mask for volume 'v9', slice 0"):
        found.of({"volume": "v9", "slice_index": 0})


def test_bad_mask_files_are_named_with_what_was_expected(tmp_path):
    read = functools.partial(files.read_masks, size=8)
    with pytest.raises(ValueError, match=r"cannot read .*none.npz.*expected an .npz file"):
        read(tmp_path / "none.npz")
    text = tmp_path / "text.npz"
    text.write_text("not an archive")
    with pytest.raises(ValueError, match=r"cannot read .*text.npz"):
        read(text)
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    files.write_masks(tmp_path / "whole.npz", _rows(1), np.zeros((1, 8, 8), bool))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    for name in ("empty", "array", "cut"):
        with pytest.raises(ValueError, match=f"cannot read .*{name}.npz"):
            read(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "part.npz", masks=np.zeros((1, 8, 8)))
    with pytest.raises(ValueError, match=r"part.npz.*volume"):
        read(tmp_path / "part.npz")
    files.write_masks(tmp_path / "small.npz", _rows(2), np.zeros((2, 4, 4), bool))
    with pytest.raises(ValueError, match=r"shape \(2, 4, 4\); expected .*\[n 8 8\]"):
        read(tmp_path / "small.npz")
    files.write_masks(tmp_path / "short.npz", _rows(1), np.zeros((2, 8, 8), bool))
    with pytest.raises(ValueError, match="2 masks, 1 volumes"):
        read(tmp_path / "short.npz")
    twice = [{"volume": "a", "slice_index": 1}] * 2
    files.write_masks(tmp_path / "twice.npz", twice, np.zeros((2, 8, 8), bool))
    with pytest.raises(ValueError, match="volume 'a', slice 1 is twice"):
        read(tmp_path / "twice.npz")
