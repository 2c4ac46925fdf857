"""Master images, and training batches that are rendered from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model.data.augmentation import Augmentation, stroke_width
from model.data.masters import (
    Masters,
    load_masters,
    make_masters,
    master_canvas,
    of_signers,
    save_masters,
    synthetic_masters,
)
from model.data.packing import pack
from model.data.pseudo_writers import WAVES, Deformation, Joint
from model.data.readers.folder import FolderDataset
from model.errors import DataError
from model.preprocessing.ink import Canvas, fit
from model.training import train as training
from model.training.data import pack_masters
from model.training.plans import MasterSource, Plan, Plans
from model.training.recipes import SamplerSpec, parse_recipe
from model.training.rendering import OUTLINE, STEPS, Renderer, distance_maps
from model.training.samplers import Batch, IdentitySampler
from model.training.train import train

CANVAS = Canvas(64, 128, "moments", 0.9)
STILL = Augmentation(
    rotation=0, scale=0, aspect=0, shear=0, shift=0, stroke=0, gamma=0, blur=0, noise=0, jpeg=0, bitonal=0,
    elastic=0, perturb=0, widths=(2.0, 2.0),
)  # fmt: skip
RECIPE = """
name = "rendered"
seed = 3
metric = "local"
canvas = { height = 32, width = 64, method = "moments", fill = 0.9 }
network = { name = "local", options = { widths = [4, 6, 8, 10], canvas = [32, 64], cell = 4, scale = false } }
objectives = [{ name = "matched-similarity", forgeries = "own-class" }]
optimiser = { name = "adamw", learning_rate = 2e-3 }
sampler = { identities = 3, genuine = 4, forgeries = 2, pseudo_writers = 0.7, joined = 0.5 }
augmentation = { stroke = 0.0, jpeg = 0.0, widths = [0.9, 2.0], noise = 0.3, elastic = 0.3, bitonal = 0.3 }
[[datasets]]
name = "people"
split = "train"
[[datasets]]
name = "synthetic"
options = { writers = 3, genuine = 4, forgeries = 2 }
[[validation]]
name = "people"
split = "validation"
[training]
epochs = 2
steps_per_epoch = 2
average = 0.9
rendering = "device"
checkpoint_steps = 1
"""


@pytest.fixture(scope="module")
def masters(specimens: Path, tmp_path_factory: pytest.TempPathFactory) -> Masters:
    return make_masters(FolderDataset(specimens, "people"), CANVAS, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def renderer(masters: Masters) -> Renderer:
    return Renderer([masters], CANVAS, STILL, 0, "cpu")


def one_row(image: int, deformation: Deformation | None, second: int | None = None) -> Plan:
    """A plan of one row, made by the same code as those of training."""

    class Sampler:
        def rows(self, step: int) -> list[object]:
            from model.training.samplers import BatchRow  # noqa: PLC0415

            del step
            return [BatchRow(0, 0, 0, 0, False, deformation, None if second is None else (0, 1))]

    class Source:
        def image(self, identity: int, number: int, rng: object, *, forged: bool) -> int:
            del identity, rng, forged
            return image if number == 0 or second is None else second

    return Plans(Sampler(), [Source()], 0, 1)[0]  # type: ignore[arg-type, list-item]


def deformation(linear: list[list[float]], joint: Joint | None = None) -> Deformation:
    return Deformation(np.array(linear), np.zeros((WAVES, 2)), np.zeros(WAVES), np.zeros((WAVES, 2)), joint)


def canvas_of(batch: Batch) -> np.ndarray:
    return batch.canvases[0].numpy().astype(np.float64)


def test_masters_are_written_and_read(masters: Masters, tmp_path: Path) -> None:
    path = tmp_path / "people.npz"
    save_masters(masters, path)
    read = load_masters(path, CANVAS)
    assert (read.about, read.keys, read.signers) == (masters.about, masters.keys, masters.signers)
    assert np.array_equal(read.genuine, masters.genuine)
    difference = np.abs(read.images.astype(int) - masters.images.astype(int))
    assert difference.mean() < 3.0  # lossy compression
    with pytest.raises(DataError, match="another canvas"):
        load_masters(path, replace(CANVAS, height=80))
    with pytest.raises(DataError, match="model pack"):
        load_masters(tmp_path / "none.npz", CANVAS)


def test_masters_can_be_limited_to_signers(masters: Masters) -> None:
    signer = masters.signers[0]
    some = of_signers(masters, [signer])
    assert set(some.signers) == {signer}
    assert some.about.signers == 1
    assert len(some.images) == len(some.keys) == masters.signers.count(signer)
    with pytest.raises(DataError, match="none of the signers"):
        of_signers(masters, ["nobody"])


def test_synthetic_writers_are_drawn_with_genuine_specimens_and_forgeries() -> None:
    drawn = synthetic_masters({"writers": 2, "genuine": 3, "forgeries": 2}, CANVAS)
    size = master_canvas(CANVAS)
    assert drawn.images.shape == (10, size.height, size.width)
    assert drawn.genuine.tolist() == [True, True, True, False, False] * 2
    assert all(image.max() > 100 for image in drawn.images)
    with pytest.raises(TypeError):
        synthetic_masters({"writer": 2}, CANVAS)


def test_a_distance_map_gives_the_distance_to_the_outline() -> None:
    bar = np.zeros((1, 40, 60), dtype=np.uint8)
    bar[0, 16:24, 10:50] = 255  # eight pixels wide
    maps, widths = distance_maps(bar)
    distance = (maps[0, :, 30].astype(float) - OUTLINE) / STEPS
    assert distance[[19, 20]] == pytest.approx(3.5, abs=0.4)
    assert distance[[12, 27]] == pytest.approx(-3.5, abs=0.4)
    assert distance[[15, 16]] == pytest.approx([-0.5, 0.5], abs=0.3)
    assert widths[0] == pytest.approx(8.0, rel=0.15)


def test_a_plain_rendering_is_the_canvas_of_the_service(
    masters: Masters, renderer: Renderer, specimens: Path, tmp_path: Path
) -> None:
    packed = pack(FolderDataset(specimens, "people"), tmp_path)
    rows = [0, 5, 40, 100]
    for row, rendered in zip(rows, renderer.render_plain(torch.tensor(rows)).numpy(), strict=True):
        assert masters.keys[row] == packed.keys[row]
        expected = fit(packed.density(row), CANVAS).astype(float)
        # Resampled twice, so strokes are softer; but they are in their place.
        agreement = [
            np.corrcoef(np.roll(rendered, shift, 1).ravel(), expected.ravel())[0, 1] for shift in (0, -1, 1)
        ]
        assert agreement[0] > 0.8
        assert agreement[0] > max(agreement[1:]) + 0.1


def test_strokes_get_the_width_that_is_drawn(masters: Masters) -> None:
    # Pens of the masters differ. Outlines of crossing strokes merge, and no stroke is measured below two pixels.
    measured = []
    for width in (1.2, 2.4, 3.6):
        drawn = Renderer([masters], CANVAS, STILL.model_copy(update={"widths": (width, width)}), 0, "cpu")
        canvases = [drawn.render(one_row(image, None)).canvases[0].numpy() for image in range(0, 140, 10)]
        measured.append(np.median([stroke_width(canvas) for canvas in canvases]))
    assert measured[1] == pytest.approx(2.4, rel=0.15)
    assert measured[0] < measured[1] - 0.1
    assert measured[2] > measured[1] + 0.3


def test_a_mirrored_pseudo_writer_is_the_mirror_image(renderer: Renderer) -> None:
    plain = canvas_of(renderer.render(one_row(3, None)))
    mirrored = canvas_of(renderer.render(one_row(3, deformation([[-1.0, 0.0], [0.0, 1.0]]))))
    assert np.corrcoef(mirrored[:, ::-1].ravel(), plain.ravel())[0, 1] > 0.98
    assert np.corrcoef(mirrored.ravel(), plain.ravel())[0, 1] < 0.5


def test_two_signers_are_joined_side_by_side(renderer: Renderer) -> None:
    joint = Joint(0.6, ((-2.5, 0.0), (2.5, 0.0)))
    identity = [[1.0, 0.0], [0.0, 1.0]]
    both = canvas_of(renderer.render(one_row(3, deformation(identity, joint), second=40)))
    other = canvas_of(renderer.render(one_row(3, deformation(identity, joint), second=80)))
    left, right = slice(0, 56), slice(72, None)
    assert both[:, left].sum() > 1000
    assert both[:, right].sum() > 1000
    # The second signature is on the right; it moves the first one only a little.
    assert np.corrcoef(both[:, right].ravel(), other[:, right].ravel())[0, 1] < 0.8
    assert np.corrcoef(both[:, right].ravel(), both[:, left].ravel())[0, 1] < 0.5


def test_a_batch_depends_on_its_step_only(masters: Masters) -> None:
    source = MasterSource(masters, 0)
    sampler = IdentitySampler(
        [source], [1.0], SamplerSpec(identities=4, genuine=3, forgeries=2, pseudo_writers=0.8, joined=0.5), 7
    )
    plans = Plans(sampler, [source], 7, 10)
    augmentation = parse_recipe(RECIPE).augmentation
    first, second = (Renderer([masters], CANVAS, augmentation, 7, "cpu") for _ in range(2))
    first.render(plans[0])
    assert torch.equal(first.render(plans[5]).canvases, second.render(plans[5]).canvases)
    assert not torch.equal(first.render(plans[5]).canvases, first.render(plans[6]).canvases)
    batch = first.render(plans[5])
    rows = np.array([3, 4, 5, 19, 0, 3])
    share = first.render(plans[5], rows)
    assert torch.equal(share.canvases, batch.canvases[torch.from_numpy(rows)]), "a row depends on no other"
    assert torch.equal(share.identities, batch.identities)
    assert batch.canvases.shape == (20, 64, 128)
    assert batch.canvases.dtype == torch.uint8
    assert batch.forged.sum() == 8
    # All rows of a joined pseudo-writer contain two specimens, all forged or all genuine.
    plan = plans[5]
    joined = plan.images[:, 0] != plan.images[:, 1]
    for label in plan.identities.unique():
        assert len(set(joined[plan.identities == label].tolist())) == 1
    genuine = torch.from_numpy(masters.genuine)
    assert torch.equal(genuine[plan.images[:, 0]], ~plan.forged)
    assert torch.equal(genuine[plan.images[:, 1]], ~plan.forged)


def test_a_run_trains_on_rendered_batches_and_resumes(
    specimens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe(RECIPE)
    folder = tmp_path / "masters"
    written = pack_masters(recipe, folder, specimens.parent, tmp_path / "cache")
    assert [path.name for path in written] == ["people.npz"]
    card = train(recipe, RECIPE, tmp_path / "whole", masters=folder)
    assert {data.name for data in card.datasets} == {"people/train", "synthetic"}
    assert card.validation["people/validation skilled"] >= 0.0

    def interrupted(self: training.Trainer) -> None:
        save(self)
        if self.progress.step == 3:
            raise KeyboardInterrupt

    save = training.Trainer._checkpoint
    monkeypatch.setattr(training.Trainer, "_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, RECIPE, tmp_path / "parts", masters=folder)
    monkeypatch.undo()
    train(recipe, RECIPE, tmp_path / "parts", masters=folder, resume=True)
    whole, parts = (load_file(tmp_path / run / "weights" / "model.safetensors") for run in ("whole", "parts"))
    for name, tensor in whole.items():
        assert np.array_equal(tensor, parts[name]), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stroke = 0.0", "stroke = 1.0", "no augmentation stroke"),
        ("widths = [0.9, 2.0], ", "", "needs augmentation.widths"),
        ('rendering = "device"', 'rendering = "workers"', "sampler.joined needs"),
    ],
)
def test_a_recipe_that_cannot_be_rendered_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_recipe(RECIPE.replace(old, new))
