"""The shortcuts of `model.page` against the plain way of doing the same."""

from __future__ import annotations

import numpy as np
import pytest

from model.page import RULING_SLANT, _most_filled, _sheared_rows, percentiles

Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(7)


def test_percentiles_are_numpy_s_to_the_bit(rng: Rng) -> None:
    for _ in range(300):
        pixels = rng.integers(0, rng.integers(1, 257), rng.integers(1, 400)).astype(np.uint8)
        for percent in (2, 50, 90, 99.5):
            assert percentiles(pixels, percent)[0] == float(np.percentile(pixels, percent))
        assert percentiles(pixels, 50)[0] == float(np.median(pixels))


def test_sheared_rows_are_counted_right_and_never_above_their_bound(rng: Rng) -> None:
    for n in range(200):
        height, width = (int(side) for side in rng.integers(16, 300, 2))
        mask = (rng.random((height, width)) < rng.random() ** 2).astype(np.uint8)
        if n % 3 == 0:
            mask[rng.integers(0, height)] = 1
        steps = max(1, round(width * RULING_SLANT))
        leans = np.linspace(-RULING_SLANT, RULING_SLANT, 2 * steps + 1)
        offsets = np.rint(leans[:, None] * np.arange(width)).astype(int)
        upto = np.zeros((width + 1, height), np.int32)
        np.cumsum(mask.T, axis=0, dtype=np.int32, out=upto[1:])
        ys, xs = np.nonzero(mask)
        for offset, bound in zip(offsets, _most_filled(mask, offsets), strict=True):
            plain = np.bincount(ys - offset[xs] + width, minlength=height + 2 * width)
            quick = _sheared_rows(upto, offset)
            assert sorted(quick[quick > 0]) == sorted(plain[plain > 0])
            filled = np.maximum(plain[:-1], (plain[:-1] + plain[1:]) / 1.3).max()
            assert bound >= filled - 1e-3
            assert np.maximum(quick[:-1], (quick[:-1] + quick[1:]) / 1.3).max() == filled
