"""Composed pages and the segmentation network that is trained on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from benchmarks.document_pages import KINDS, UNSIGNED, compose
from model.documents import train as training
from model.documents.capture import capture
from model.documents.elements import Drawer
from model.documents.layouts import LAYOUTS
from model.documents.material import Typefaces, cropped
from model.documents.patches import PATCH, Patches
from model.documents.release import export_onnx
from model.networks.page import PageNetwork
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.segmenter import Segmenter
from model.synthetic.writer import Writer


class Drawn:
    """Signatures of one synthetic writer."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        return cropped(255 - Writer(int(rng.integers(3))).genuine_image(0))


@pytest.fixture(scope="module")
def faces() -> Typefaces:
    return Typefaces("train")


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_layout_is_drawn_anew_for_each_seed_and_alike_for_the_same(faces: Typefaces, name: str) -> None:
    layout = LAYOUTS[name][0]
    pages = [layout(Drawer(faces, Drawn(), np.random.default_rng(seed))) for seed in (0, 0, 1)]
    first, same, other = (page.brightness() for page in pages)
    assert np.array_equal(first, same)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert 0.0 <= first.min() < first.max() <= 1.3


def test_the_mask_covers_the_signatures_and_nothing_else(faces: Typefaces) -> None:
    sheet = LAYOUTS["cheque"][0](Drawer(faces, Drawn(), np.random.default_rng(3)))
    covered = np.zeros(sheet.shape, bool)
    for box in sheet.signatures:
        covered[box.top : box.bottom, box.left : box.right] = True
    assert sheet.signatures
    assert sheet.signature.any()
    assert not sheet.signature[~covered].any()


@pytest.mark.parametrize("name", ["text", "graphics", "filled-part", "printed-name"])
def test_pages_without_signatures_have_an_empty_mask(faces: Typefaces, name: str) -> None:
    sheet = LAYOUTS[name][0](Drawer(faces, Drawn(), np.random.default_rng(0)))
    assert not sheet.signature.any()


def test_capture_moves_page_and_mask_alike(faces: Typefaces) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        sheet = LAYOUTS["crop"][0](Drawer(faces, Drawn(), rng))
        page = capture(sheet.brightness(), sheet.signature, rng)
        inked = page.signature > 200
        if inked.sum() > 50:
            around = cv2.dilate(inked.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
            assert page.grey[inked].mean() < page.grey[around & ~inked].mean()


def test_fonts_of_training_and_test_are_disjoint() -> None:
    train, test = (
        {face.path for faces in Typefaces(part).by_script.values() for face in faces if face.path}
        for part in ("train", "test")
    )
    assert not train & test


def test_a_batch_depends_on_seed_and_step_only(faces: Typefaces) -> None:
    patches = Patches(faces, Drawn(), 4, seed=7)
    one, two = patches.at(5), patches.at(5)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert one[0].shape == (4, 1, *PATCH)
    assert not torch.equal(one[0], patches.at(6)[0])


def test_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "training_signatures", lambda *_: Drawn())
    recipe = training.PageRecipe(
        name="tiny", widths=(4, 4, 8, 8), steps=4, batch=2, datasets={"drawn": 1.0}, checkpoint_steps=2
    )
    training.train(recipe, "", tmp_path / "whole")
    training.train(recipe, "", tmp_path / "parts", stop_after=2)
    assert not (tmp_path / "parts" / "weights" / "page.json").exists()
    assert training.release(recipe, "", tmp_path / "parts") == 2
    training.train(recipe, "", tmp_path / "parts")
    whole, parts = (
        (tmp_path / name / "weights" / "model.safetensors").read_bytes() for name in ("whole", "parts")
    )
    assert whole == parts


def test_opencv_computes_what_torch_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PageNetwork((8, 8, 16, 16)).eval()
    export_onnx(network, tmp_path / "model.onnx")
    darkness = np.random.default_rng(0).integers(0, 256, (70, 130), dtype=np.uint8)
    padded = np.zeros((80, 144), np.float32)
    padded[:70, :130] = darkness / 255.0
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(padded)[None, None]))[0, 0, :70, :130].numpy()
    computed = Segmenter(tmp_path / "model.onnx").probability(darkness)
    assert np.abs(computed / 255.0 - expected).max() < 0.005


@pytest.mark.parametrize("name", ["clean", "cheque", "form", "letter", "card", "photographed letter"])
def test_signatures_are_found_on_the_pages_of_the_benchmark(name: str) -> None:
    finder, faces = SignatureFinder(PAGE_NETWORK), Typefaces("test")
    found = 0
    for seed in range(4):
        drawer = Drawer(faces, Drawn(), np.random.default_rng(seed))
        page = compose(KINDS[name], drawer, Drawn().draw(drawer.rng))
        signatures = finder.find(page.grey)
        mask = np.zeros(page.grey.shape, bool)
        for one in signatures:
            mask[one.box.top : one.box.bottom, one.box.left : one.box.right] = True
        ink = page.signature > 110
        found += bool(ink.any() and mask[ink].mean() > 0.7)
    assert found >= 3


def test_a_page_of_print_has_no_signature() -> None:
    finder, faces = SignatureFinder(PAGE_NETWORK), Typefaces("test")
    for seed in range(4):
        drawer = Drawer(faces, Drawn(), np.random.default_rng(seed))
        kind = dataclasses.replace(KINDS["clean"], draw=lambda d, _: UNSIGNED["page of print"](d))
        assert finder.find(compose(kind, drawer, None).grey) == ()
