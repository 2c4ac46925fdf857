"""Synthetic writers: reproducible, variable, forged by others, fast to render."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.readers.svc2004 import read_trajectory
from model.errors import DataError
from model.preprocessing.ink import Canvas, fit, isolate
from model.synthetic.command import write_folder
from model.synthetic.pen import BALLPOINT, Pen, Trajectory, draw, perturb, random_pen, render
from model.synthetic.writer import Habits, Writer

CANVAS = Canvas(32, 64, "moments", 0.8)
BOLD = Pen(width=6.0, width_gain=0.0, darkness_gain=0.0)


def blurred(trajectory: Trajectory) -> NDArray[np.float64]:
    image = draw(trajectory, BOLD, CANVAS).astype(np.float64)
    return image.reshape(16, 2, 32, 2).mean(axis=(1, 3)).ravel()


def test_the_same_seed_gives_identical_images() -> None:
    assert np.array_equal(Writer(3).genuine_image(2), Writer(3).genuine_image(2))
    assert np.array_equal(Writer(3).forgery_image(1, 0), Writer(3).forgery_image(1, 0))
    assert not np.array_equal(Writer(3).genuine(0).xy, Writer(3).genuine(1).xy)


def test_habits_determine_the_variability_of_writers_and_the_error_of_forgers() -> None:
    def mean_distance(habits: Habits, *, forged: bool) -> float:
        distances = []
        for seed in range(60, 90):
            writer = Writer(seed, habits)
            other = writer.forgery(0, 0) if forged else writer.genuine(1)
            distances.append(np.linalg.norm(blurred(writer.genuine(0)) - blurred(other)))
        return float(np.mean(distances))

    assert mean_distance(Habits(variation=2.0), forged=False) > 1.2 * mean_distance(Habits(), forged=False)
    assert mean_distance(Habits(error=0.5), forged=True) < 0.9 * mean_distance(Habits(error=2.0), forged=True)
    assert np.array_equal(Writer(3, Habits()).genuine(0).xy, Writer(3).genuine(0).xy)


def test_genuine_specimens_are_closer_than_skilled_forgeries_and_those_closer_than_random_forgeries() -> None:
    own, forged, random = [], [], []
    for seed in range(60, 90):
        writer, other = Writer(seed), Writer(seed + 1000)
        reference = blurred(writer.genuine(0))
        own += [np.linalg.norm(reference - blurred(writer.genuine(n))) for n in (1, 2, 3)]
        forged += [np.linalg.norm(reference - blurred(writer.forgery(f, 0))) for f in (0, 1, 2)]
        random.append(np.linalg.norm(reference - blurred(other.genuine(0))))
    assert np.mean(own) < 0.95 * np.mean(forged)
    assert np.mean(forged) < 0.9 * np.mean(random)


def test_a_forger_is_slower_and_needs_more_strokes() -> None:
    ratio = [Writer(s).forgery(0, 0).t[-1] / Writer(s).genuine(0).t[-1] for s in range(40)]
    assert np.median(ratio) > 1.2


def test_trajectories_are_well_formed() -> None:
    for seed in range(30):
        for trajectory in (Writer(seed).genuine(0), Writer(seed).forgery(0, 0)):
            assert np.isfinite(trajectory.xy).all()
            assert (np.diff(trajectory.t) > 0).all()
            assert trajectory.pressure.min() >= 0.0
            assert trajectory.pressure.max() <= 1.0
            assert trajectory.pen_down.any()


def test_every_specimen_is_a_usable_signature() -> None:
    for seed in range(40):
        isolate(Writer(seed).genuine_image(0))
        isolate(Writer(seed).forgery_image(0, 0))


def test_drawing_on_the_canvas_agrees_with_isolating_the_scan() -> None:
    """Training renders directly on the canvas, the service gets scans. Both must give similar canvases."""
    canvas, errors, ink = Canvas(64, 128, "moments", 0.8), [], []
    for seed in range(12):
        trajectory = Writer(seed).genuine(0)
        scan = fit(isolate(render(trajectory, BALLPOINT, 200)).density, canvas)
        direct, scanned = (
            cv2.GaussianBlur(image.astype(float), (0, 0), 2.0)
            for image in (draw(trajectory, BALLPOINT, canvas), scan)
        )
        errors.append(np.abs(direct - scanned).mean())
        ink.append(direct.mean())
    assert np.mean(errors) < 0.6 * np.mean(ink)


def test_perturbation_is_small_compared_with_the_size_of_the_signature() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        trajectory = Writer(seed).genuine(0)
        moved = perturb(trajectory, rng)
        size = np.ptp(trajectory.xy, axis=0).mean()
        assert 0.0 < np.abs(moved.xy - trajectory.xy).mean() < 0.03 * size


def test_random_pens_differ_in_width() -> None:
    rng = np.random.default_rng(0)
    widths = [random_pen(rng).width for _ in range(50)]
    assert max(widths) > 2.0 * min(widths)


@pytest.mark.alone
def test_rendering_is_fast_compared_with_inverting_a_matrix() -> None:
    """A specimen with its scan takes less time than twenty inversions of a 200 x 200 matrix."""
    matrix = np.random.default_rng(0).normal(size=(200, 200))

    def seconds(action, times: int) -> float:  # type: ignore[no-untyped-def]
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            for n in range(times):
                action(n)
            best = min(best, (time.perf_counter() - start) / times)
        return float(best)

    writer = Writer(5)
    assert seconds(writer.genuine_image, 20) < 20 * seconds(lambda _: np.linalg.inv(matrix), 20)


def test_synth_writes_the_folder_layout(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", writers=2, genuine=3, forged=2, seed=1)
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert files[0] == "writer-001/forged/01.png"
    assert len(files) == 10
    with pytest.raises(DataError, match="not an empty folder"):
        write_folder(tmp_path / "out", writers=1, genuine=1, forged=0, seed=1)


def test_svc2004_recordings_are_upright_and_without_repeated_points(tmp_path: Path) -> None:
    path = tmp_path / "U1S1.TXT"
    path.write_text("4\n0 0 100 1 0 0 512\n0 0 110 1 0 0 512\n10 5 120 1 0 0 1023\n20 0 90 0 0 0 0\n")
    trajectory = read_trajectory(path)
    assert trajectory.xy.tolist() == [[0, 0], [10, -5], [20, 0]]
    assert (np.diff(trajectory.t) > 0).all()
    assert trajectory.pen_down.tolist() == [True, True, False]
    path.write_text("1\nnot a recording\n")
    with pytest.raises(DataError, match="SVC2004"):
        read_trajectory(path)
