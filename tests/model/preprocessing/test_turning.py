"""Turning isolated ink."""

from __future__ import annotations

import numpy as np
import pytest

from model.preprocessing.ink import Canvas, fit, isolate
from model.preprocessing.turning import turn
from model.synthetic.writer import Writer
from tests.model.preprocessing.test_extraction import likeness

DENSITY = isolate(Writer(4).genuine_image(0)).density
CANVAS = Canvas(64, 128)


def test_four_quarter_turns_are_none() -> None:
    turned = DENSITY
    for _ in range(4):
        turned = turn(turned, 90)
    assert np.array_equal(turned, DENSITY)


@pytest.mark.parametrize("degrees", [-16, -8, 8, 12, 90, 180])
def test_a_turn_and_back_leaves_the_signature_as_it_was(degrees: float) -> None:
    back = turn(turn(DENSITY, degrees), -degrees)
    assert likeness(fit(back, CANVAS), fit(DENSITY, CANVAS)) > 0.95


@pytest.mark.parametrize("degrees", [-16, 12, 45])
def test_no_ink_is_cut_off(degrees: float) -> None:
    ink = DENSITY.astype(float).sum()
    assert turn(DENSITY, degrees).astype(float).sum() == pytest.approx(ink, rel=0.02)
