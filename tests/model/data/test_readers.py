"""Readers of corpora: signers, orientation of recordings, duplicates, splits by writer, stroke widths."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.data.augmentation import NONE, Augmentation, augment_crop, bring_to_width, stroke_width
from model.data.readers.susig import read_trajectory
from model.data.registry import open_dataset
from model.data.splits import split
from model.errors import DataError
from model.preprocessing.ink import Canvas
from model.synthetic.pen import Trajectory, evenly_spaced

HEADER = "X, Y, TStamp, Pres., EndPts\nDataSize: 6\n"
L_SHAPE = "0 100 0 10 0\n0 50 10 20 0\n0 0 20 20 1\n30 0 40 20 0\n30 0 50 20 0\n60 0 60 255 1\n"


def image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 40), shade, np.uint8))


def test_susig_recordings_are_upright_with_the_pen_up_between_strokes(tmp_path: Path) -> None:
    for part in ("visual", "blind"):
        (tmp_path / part).mkdir()
        for kind, number in (("g", 1), ("g", 2), ("f", 1)):
            shifted = L_SHAPE.replace("60 0 60", f"{60 + number}{'1' if kind == 'f' else ''} 0 60")
            (tmp_path / part / f"003_{kind}_{number:02d}.sig").write_text(HEADER + shifted)
    dataset = open_dataset("susig", tmp_path)
    assert dataset.signers() == ("003/blind", "003/visual")
    assert [s.key for s in dataset.genuine("003/visual")] == ["visual/003_g_01.sig", "visual/003_g_02.sig"]
    (forged,) = dataset.forgeries("003/blind")
    assert not forged.genuine
    assert forged.trajectory is not None
    blind = forged.trajectory()
    assert blind.xy[0].tolist() == [0.0, 100.0]
    visual = dataset.genuine("003/visual")[0].trajectory
    assert visual is not None
    upright = visual()
    assert upright.xy[:, 1].tolist()[:3] == [-100.0, -50.0, 0.0]  # downwards in a trajectory
    # Three points, pen up, the second stroke without its repeated point, pen up.
    assert upright.pen_down.tolist() == [True, True, True, False, True, True, False]
    assert upright.pressure.max() == 1.0
    grey = dataset.genuine("003/visual")[0].grey()
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, dataset.genuine("003/visual")[0].grey())


@pytest.mark.parametrize(
    "text", ["", HEADER + "1 2 3\n4 5 6\n", HEADER + "1 2 3 4 1\n", HEADER + "a b c d e\n"]
)
def test_an_invalid_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "001_g_01.sig"
    path.write_text(text)
    with pytest.raises(DataError, match="SUSIG recording"):
        read_trajectory(path, upwards=True, pressure_levels=255.0)


def test_bhsig260_is_read_by_script_and_without_duplicates(tmp_path: Path) -> None:
    for script, initial in (("Hindi", "H"), ("Bengali", "B")):
        for number in (1, 2, 3):
            image(tmp_path / "bhsig260" / script / "007" / f"{initial}-S-007-G-{number:02d}.png", 60 * number)
        image(tmp_path / "bhsig260" / script / "007" / f"{initial}-S-007-F-01.png", 10)
    again = tmp_path / "bhsig260" / "Hindi" / "007" / "H-S-007-G-04.png"
    again.write_bytes((again.parent / "H-S-007-G-02.png").read_bytes())
    assert open_dataset("bhsig260", tmp_path).signers() == ("B-007", "H-007")
    hindi = open_dataset("bhsig260-hindi", tmp_path)
    assert (hindi.name, hindi.signers()) == ("bhsig260-hindi", ("H-007",))
    assert [Path(s.key).stem for s in hindi.genuine("H-007")] == [f"H-S-007-G-0{n}" for n in (1, 2, 3)]
    assert len(hindi.forgeries("H-007")) == 1


def test_duplicates_are_skipped_across_genuine_and_forged(tmp_path: Path) -> None:
    image(tmp_path / "nfi001" / "genuine" / "a.png", 60)
    image(tmp_path / "nfi001" / "genuine" / "b.png", 120)
    image(tmp_path / "nfi001" / "forged" / "c.png", 60)
    image(tmp_path / "nfi001" / "forged" / "d.png", 200)
    dataset = open_dataset("sigcomp2009", tmp_path)
    assert [Path(s.key).name for s in dataset.genuine("nfi001")] == ["a.png", "b.png"]
    assert [Path(s.key).name for s in dataset.forgeries("nfi001")] == ["d.png"]


def test_writers_are_split_by_number_in_the_same_way_in_all_parts_of_a_corpus(tmp_path: Path) -> None:
    for script, initial in (("Hindi", "H"), ("Bengali", "B")):
        for person in range(1, 13):
            for number in (1, 2):
                name = f"{initial}-S-{person:03d}-G-{number:02d}.png"
                image(tmp_path / "bhsig260" / script / f"{person:03d}" / name, 3 * person + 50 * number)
    whole, hindi = open_dataset("bhsig260", tmp_path), open_dataset("bhsig260-hindi", tmp_path)
    assert split(whole, "test").signers() == ("B-006", "B-012", "H-006", "H-012")
    assert split(hindi, "test").signers() == ("H-006", "H-012")
    assert split(hindi, "validation").signers() == ("H-003", "H-009")
    assert len(split(hindi, "train").signers()) == 8


def test_equidistant_points_do_not_depend_on_the_speed_of_writing() -> None:
    def corner(points: int) -> Trajectory:
        leg = np.linspace(0.0, 1.0, points)
        xy = np.concatenate([np.stack([leg, 0 * leg], 1), np.stack([1 + 0 * leg, leg], 1)[1:]])
        n = len(xy)
        return Trajectory(xy, np.arange(float(n)), np.full(n, 0.5), np.ones(n, bool))

    quick, slow = evenly_spaced(corner(11)), evenly_spaced(corner(401))
    assert len(quick.xy) == len(slow.xy)
    assert np.allclose(quick.xy, slow.xy, atol=1e-6)
    assert quick.pen_down.tolist() == [True] * (len(quick.xy) - 1) + [False]
    assert slow.t[-1] == 800.0


@pytest.mark.parametrize("width", [3.0, 5.0, 8.0, 12.0])
def test_stroke_width_is_changed_regardless_of_the_pen(width: float) -> None:
    for pen in (4, 9):
        scan = np.zeros((120, 240), np.uint8)
        cv2.polylines(
            scan,
            [np.array([[20, 90], [80, 30], [140, 90], [220, 40]])],
            isClosed=False,
            color=255,
            thickness=pen,
        )
        assert stroke_width(bring_to_width(scan, width)) == pytest.approx(width, abs=1.3)


def test_thinned_strokes_stay_connected() -> None:
    scan = np.zeros((120, 240), np.uint8)
    cv2.polylines(
        scan, [np.array([[20, 90], [80, 30], [140, 90], [220, 40]])], isClosed=False, color=255, thickness=3
    )
    thin = bring_to_width(scan, 0.5)
    assert cv2.connectedComponents((thin > 96).astype(np.uint8))[0] == 2  # paper and one stroke


def test_random_widths_hide_the_difference_between_two_pens() -> None:
    canvas = Canvas(112, 224)
    ranges = NONE.model_copy(update={"widths": (1.5, 4.0)})
    assert isinstance(ranges, Augmentation)
    drawn = {}
    for pen in (3, 7):
        scan = np.zeros((180, 400), np.uint8)
        cv2.polylines(
            scan,
            [np.array([[20, 150], [130, 20], [250, 150], [380, 30]])],
            isClosed=False,
            color=255,
            thickness=pen,
        )
        rng = np.random.default_rng(0)
        drawn[pen] = [stroke_width(augment_crop(scan, canvas, ranges, rng)) for _ in range(30)]
    plain_gap = 4 * float(Canvas(112, 224).fill) / 2
    assert abs(np.mean(drawn[3]) - np.mean(drawn[7])) < 0.2 * plain_gap
    assert np.std(drawn[3]) > 0.4


def test_a_folder_is_opened_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "mine" / "anna" / "genuine" / "a.png", 60)
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "mine"), "./mine", "../" + tmp_path.name + "/mine"):
        dataset = open_dataset(name)
        assert (dataset.name, tuple(dataset.signers())) == ("mine", ("anna",))
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(str(tmp_path / "absent"))
