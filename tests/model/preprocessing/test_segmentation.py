"""Optimised functions of `model.preprocessing.segmentation`, compared with simple implementations."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.preprocessing.segmentation import RULING_SLANT, Parts, _sheared_rows, percentiles, true_of_median

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(7)


def test_percentiles_equal_those_of_numpy_exactly(rng: Rng) -> None:
    for _ in range(300):
        pixels = rng.integers(0, rng.integers(1, 257), rng.integers(1, 400)).astype(np.uint8)
        for percent in (2, 50, 90, 99.5):
            assert percentiles(pixels, percent)[0] == float(np.percentile(pixels, percent))
        assert percentiles(pixels, 50)[0] == float(np.median(pixels))


def test_true_of_median_agrees_with_the_median(rng: Rng) -> None:
    for _ in range(300):
        pixels = rng.integers(0, 9, rng.integers(1, 40)).astype(np.uint8)
        for level in range(9):
            if true_of_median(pixels <= level):
                assert np.median(pixels) <= level
        assert true_of_median(pixels < 9) or pixels.size == 1


def test_sheared_rows_equal_those_of_a_simple_implementation(rng: Rng) -> None:
    for n in range(200):
        height, width = (int(side) for side in rng.integers(16, 300, 2))
        mask = (rng.random((height, width)) < rng.random() ** 2).astype(np.uint8)
        if n % 3 == 0:
            mask[rng.integers(0, height)] = 1
        steps = max(1, round(width * RULING_SLANT))
        leans = np.linspace(-RULING_SLANT, RULING_SLANT, 2 * steps + 1)
        ys, xs = np.nonzero(mask)
        for lean, quick in zip(leans, _sheared_rows(mask, leans), strict=True):
            offset = np.rint(lean * np.arange(width)).astype(int)
            plain = np.bincount(ys - offset[xs] + width, minlength=height + 2 * width)
            assert np.array_equal(np.trim_zeros(quick), np.trim_zeros(plain))
            assert not quick[-1]


def test_selecting_parts_removes_only_the_other_parts_from_the_mask(rng: Rng) -> None:
    mask = (rng.random((90, 120)) < 0.2).astype(np.uint8)
    parts = Parts.of(mask)
    assert parts.only(parts.left) is parts
    some = rng.random(len(parts.left)) < 0.5
    fewer = parts.only(some)
    assert np.array_equal(fewer.mask, mask * some[parts.labels])
    assert fewer.mask.sum() == parts.stats[fewer.left, cv2.CC_STAT_AREA].sum()
    assert not fewer.only(~some).left.any()
