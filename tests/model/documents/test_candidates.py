"""Numbers written by hand, candidates of composed pages, and the network that recognises them."""

from __future__ import annotations

import copy
import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from model.documents import classifier
from model.documents import collection as collections
from model.documents.capture import Captured
from model.documents.classifier import augmented, collect, train
from model.documents.collection import Collection
from model.documents.digits import Digits
from model.documents.elements import Drawer
from model.documents.labelling import label_candidates
from model.documents.layouts import compose_page
from model.documents.material import Typefaces
from model.documents.release import release_candidate_network
from model.documents.sheet import Sheet
from model.networks.candidate import CandidateNetwork
from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates, PageNetworks
from model.preprocessing.evidence import MEASURES, Scene
from model.preprocessing.recognition import CHANNELS, HEIGHT, WIDTH, CandidateClassifier, candidate_images
from model.preprocessing.views import INK, look
from tests.model.documents.test_documents import Drawn

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces() -> Typefaces:
    return Typefaces("train")


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with drawn digits in the format of MNIST."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    labels = np.arange(40, dtype=np.uint8) % 10
    images = np.zeros((40, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        cv2.putText(image, str(label), (5, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    for part in ("train", "t10k"):
        for name, content in (
            ("images-idx3", bytes(16) + images.tobytes()),
            ("labels-idx1", bytes(8) + labels.tobytes()),
        ):
            (folder / "mnist" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


def test_a_number_is_written_with_the_digits_that_it_has(mnist: Path) -> None:
    digits = Digits("train", mnist)
    rng = np.random.default_rng(0)
    long, short = digits.write("12-03-94", rng), digits.write("5", rng)
    assert long.dtype == short.dtype == np.uint8
    assert long.max() == short.max() == 255
    assert long.shape[1] / long.shape[0] > 2 > short.shape[1] / short.shape[0]
    assert np.array_equal(
        digits.write("7,041.55", np.random.default_rng(3)), digits.write("7,041.55", np.random.default_rng(3))
    )


def test_without_the_files_there_are_no_digits(tmp_path: Path, mnist: Path) -> None:
    assert Digits.installed("train", tmp_path) is None
    assert Digits.installed("test", mnist) is not None


def test_most_numbers_on_a_page_are_written_with_digits(faces: Typefaces, mnist: Path) -> None:
    def page(digits: Digits | None) -> Pixels:
        drawer = Drawer(faces, Drawn(), np.random.default_rng(1), digits=digits)
        sheet = Sheet(60, 20, 6)
        for row in range(3):
            drawer.fill_in(sheet, 2, 1 + 6 * row, "30.11.26", 5)
        return np.asarray(sheet.brightness() * 255, np.uint8)

    with_digits, without = page(Digits("train", mnist)), page(None)
    assert with_digits.min() < 100
    assert not np.array_equal(with_digits, without)


def signed_page(word: str = "beside", y: float = 40, points: float = 14) -> tuple[Captured, Box]:
    """A page with a signature at a height of 30, and a word beside it."""
    sheet = Sheet(100, 60, 6)
    sheet.sign(Drawn().draw(np.random.default_rng(0)), 30, 30, 40, 16)
    sheet.text(56, y, word, Typefaces("train").by_script["latin"][0], points, 0.45)
    grey = np.asarray(np.clip(sheet.brightness(), 0, 1) * 255, np.uint8)
    return Captured(grey, sheet.signature), sheet.signatures[0]


def test_a_candidate_on_the_signature_is_labelled_as_one_and_no_other() -> None:
    page, box = signed_page()
    networks = PageNetworks(PAGE_NETWORK)
    seen = networks.candidates(page.grey, Box.around(page.grey))
    labelled = list(label_candidates(networks, seen, page))
    signatures = [one for one, label in labelled if label]
    assert signatures
    assert all(one.box.overlap(seen.view.from_image(box)) > 0.4 for one in signatures)
    nothing = Captured(page.grey, np.zeros_like(page.signature))
    assert not any(label for _, label in label_candidates(networks, seen, nothing))


def test_a_signature_with_a_date_beside_it_is_labelled_as_none_if_it_was_found_by_itself() -> None:
    page, signature = signed_page("it", y=24, points=26)
    networks = PageNetworks(PAGE_NETWORK, with_classifier=False)
    view = look(page.grey, Box.around(page.grey), 400)
    ink = (view.darkness > INK).view(np.uint8)
    alone = view.from_image(signature).clipped(ink.shape)
    right = np.arange(ink.shape[1]) > ink.shape[1] / 2
    beside = Box.bounding(ink * right.astype(np.uint8))
    blank = np.zeros(len(MEASURES))

    def labels(*parts: Box) -> dict[Box, bool]:
        both = Box.enclosing((alone, beside))
        group = Candidate(both, 500, blank, tuple(Candidate(part, 100, blank) for part in parts))
        seen = Candidates(view, Scene.of(ink, ink * 255), (group,), 0.0)
        return {one.box: label for one, label in label_candidates(networks, seen, page)}

    both = Box.enclosing((alone, beside))
    assert labels(alone, beside) == {both: False, alone: True, beside: False}
    assert labels().get(both) is not False

    groups = tuple(Candidate(part, 100, blank) for part in (alone, beside))
    seen = Candidates(view, Scene.of(ink, ink * 255), groups, 0.0)
    found = {one.box: label for one, label in label_candidates(networks, seen, page)}
    assert found == {alone: True, beside: False, both: False}, "two candidates together, too"


def test_a_picture_of_a_candidate_is_centred_and_shows_less_of_it_from_afar() -> None:
    darkness = np.zeros((300, 400), np.uint8)
    box = Box(340, 20, 396, 44)  # near the edge: what lies beyond is empty
    box.of(darkness)[:] = 255
    images = candidate_images(darkness, darkness // 2, box)
    assert images.shape == (CHANNELS, HEIGHT, WIDTH)
    assert images.dtype == np.uint8
    near, far = images[0] > 127, images[2] > 127
    assert near.sum() > 4 * far.sum() > 0
    for picture in (near, far):
        rows, columns = np.nonzero(picture)
        assert abs(rows.mean() - HEIGHT / 2) < 4
        assert abs(columns.mean() - WIDTH / 2) < 4
    assert np.abs(images[1].astype(int) - images[0] // 2).max() <= 2


@pytest.mark.parametrize("box", [Box(0, 0, 400, 300), Box(0, 0, 3, 290), Box(100, 150, 399, 153)])
def test_pictures_of_candidates_of_any_shape_can_be_cut_out(box: Box) -> None:
    darkness = np.full((300, 400), 200, np.uint8)
    assert candidate_images(darkness, darkness, box).any(axis=(1, 2)).all()


def test_the_candidate_network_learns_resumes_and_computes_the_same_in_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.random(128) < 0.5)
    images = torch.from_numpy(rng.integers(0, 60, (128, CHANNELS, HEIGHT, WIDTH), dtype=np.uint8))
    images[labels, 0] += 120
    monkeypatch.setattr(classifier, "BATCH", 16)
    first = CandidateNetwork()
    whole = train(copy.deepcopy(first), images, labels, 2, tmp_path / "whole")
    train(copy.deepcopy(first), images, labels, 2, tmp_path / "parts", stop_after=1)
    parts = train(CandidateNetwork(), images, labels, 2, tmp_path / "parts")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    release_candidate_network(parts, tmp_path)
    with torch.inference_mode():
        expected = parts(images[:8].float() / 255.0)[:, 0].numpy()
    computed = CandidateClassifier(tmp_path / "candidates.onnx").log_odds(list(images[:8].numpy()))
    assert np.allclose(computed, expected, atol=1e-3)
    assert expected[labels[:8].numpy()].min() > expected[~labels[:8].numpy()].max()


def test_augmented_pictures_keep_their_size_and_range() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, CHANNELS, HEIGHT, WIDTH), dtype=torch.uint8)
    changed = augmented(images)
    assert changed.shape == images.shape
    assert 0.0 <= float(changed.min()) < float(changed.max()) <= 1.0
    assert not torch.allclose(changed, augmented(images))


def test_candidates_of_composed_pages_are_collected(
    tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "training_signatures", lambda *_: Drawn())
    monkeypatch.setattr(collections, "SHARD", 4)
    collected = Collection(PAGE_NETWORK.parent, (("drawn", 1.0),), mnist, tmp_path, "candidates", 1)
    collect(collected, 3)
    with np.load(collected.shard(3)) as shard:
        images, labels = shard["images"], shard["labels"]
    assert len(images) == len(labels) > 0
    assert images.shape[1:] == (CHANNELS, HEIGHT, WIDTH)


def test_recognised_candidates_have_the_answer_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    release_candidate_network(CandidateNetwork(), tmp_path)
    (tmp_path / "model.onnx").symlink_to(PAGE_NETWORK.resolve())
    page, _ = signed_page()
    with_it = PageNetworks(tmp_path / "model.onnx").candidates(page.grey, Box.around(page.grey))
    without = PageNetworks(tmp_path / "model.onnx", with_classifier=False).candidates(
        page.grey, Box.around(page.grey)
    )
    assert with_it.candidates
    assert all(one.measures[-1] != 0.0 for one in with_it.candidates)
    assert all(one.measures[-1] == 0.0 for one in without.candidates)
    monkeypatch.setattr("model.preprocessing.candidates.MAX_RECOGNISED", 0)
    none = PageNetworks(tmp_path / "model.onnx").candidates(page.grey, Box.around(page.grey))
    assert none.candidates == (), "those that are not recognised are left out"


def test_pages_are_composed_by_shares(faces: Typefaces) -> None:
    drawer = Drawer(faces, Drawn(), np.random.default_rng(0))
    assert compose_page(drawer, {"crop": 1.0, "form": 0.0})[0] == "crop"
