"""Cache of synthetic trajectories: equal to those of the writers, and generated once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.data.readers.synthetic import FIRST_SEED, HABITS
from model.data.registry import open_dataset
from model.errors import DataError
from model.synthetic.pool import Population, open_pool
from model.synthetic.writer import Habits, Writer

PEOPLE = Population(writers=3, genuine=2, forgeries=3, forgers=2, seed=77)


def test_the_pool_contains_the_trajectories_of_its_writers(tmp_path: Path) -> None:
    pool = open_pool(PEOPLE, tmp_path)
    genuine, kept = Writer(78).genuine(1), pool.trajectory(1, 1, forged=False)
    assert np.allclose(kept.xy, genuine.xy, atol=1e-4)
    assert np.array_equal(kept.pen_down, genuine.pen_down)
    forged = Writer(79).forgery(0, 1)  # number 2 is the second forgery of the first forger
    assert np.allclose(pool.trajectory(2, 2, forged=True).xy, forged.xy, atol=1e-4)


def test_a_population_has_its_own_habits(tmp_path: Path) -> None:
    shaky = replace(PEOPLE, habits=Habits(variation=3.0))
    kept = open_pool(shaky, tmp_path).trajectory(1, 1, forged=False)
    assert np.allclose(kept.xy, Writer(78, shaky.habits).genuine(1).xy, atol=1e-4)
    assert not np.array_equal(kept.xy, open_pool(PEOPLE, tmp_path).trajectory(1, 1, forged=False).xy)


def test_trajectories_are_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_pool(PEOPLE, tmp_path)
    monkeypatch.setattr("model.synthetic.pool._write", lambda *_: pytest.fail("generated again"))
    again = open_pool(PEOPLE, tmp_path)
    assert np.array_equal(first.trajectory(0, 0, forged=True).xy, again.trajectory(0, 0, forged=True).xy)


def test_the_synthetic_data_set_has_its_own_writers() -> None:
    dataset = open_dataset("synthetic/validation")
    assert dataset.terms == "permissive"
    assert len(dataset.signers()) == 120
    signer = dataset.signers()[0]
    assert len(dataset.genuine(signer)) == 14
    assert np.array_equal(
        dataset.genuine(signer)[3].grey(), Writer(FIRST_SEED + 1, HABITS).genuine_image(3, 160)
    )
    assert not any(specimen.genuine for specimen in dataset.forgeries(signer))
    with pytest.raises(DataError, match="nobody"):
        dataset.whole.genuine("nobody")
