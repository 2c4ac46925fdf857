"""Which strokes of a crop belong to the signature."""

from __future__ import annotations

import numpy as np

from model.preprocessing.stroke_mask import signature_mask


def test_strokes_are_kept_where_security_printing_touches_all_of_them() -> None:
    darkness, probability = np.zeros((60, 200), np.uint8), np.zeros((60, 200), np.uint8)
    darkness[::4] = darkness[:, ::4] = 120
    darkness[28:31, 20:180] = 230
    probability[28:31, 20:180] = 220
    kept = signature_mask(darkness, probability)
    assert (kept[28:31, 20:180] > 0).all()
    assert (kept[:20] == 0).all()
    assert not signature_mask(darkness, np.zeros_like(probability)).any()
