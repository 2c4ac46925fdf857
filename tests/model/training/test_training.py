"""The offline commands on synthetic writers: train, resume after a kill, tune, calibrate and evaluate."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from model.data.augmentation import NONE
from model.data.packing import pack
from model.data.readers.folder import FolderDataset
from model.errors import DataError
from model.networks import build
from model.networks.embedder import Embedder
from model.networks.weights import load_card
from model.training.recipes import parse_recipe
from model.training.release import interpolate
from model.training.sources import CropSource
from model.training.train import train
from tests import forked

RECIPE = """
name = "tiny"
seed = 3
canvas = { height = 32, width = 64, method = "moments", fill = 0.8 }
network = { name = "layout", options = { widths = [4, 6, 8, 10], grid = [2, 4], cell = 4 } }
objectives = [
    { name = "signature-similarity", forgeries = "own-class" },
    { name = "reference-set", forgeries = "own-class" },
]
optimiser = { name = "adamw", learning_rate = 2e-3 }
sampler = { identities = 3, genuine = 4, forgeries = 2 }
[[datasets]]
name = "people"
split = "train"
[[datasets]]
name = "synthetic"
options = { writers = 6, genuine = 4, forgeries = 2 }
[[validation]]
name = "people"
split = "validation"
[training]
epochs = 3
steps_per_epoch = 4
average = 0.9
checkpoint_steps = 2
"""

REFINED = (
    RECIPE
    + """
[refinement]
sizes = [0.9, 1.0]
batches = 3
"""
)


def train_tiny(tmp: Path, specimens: Path, name: str, **options: object) -> Path:
    train(
        parse_recipe(RECIPE),
        RECIPE,
        tmp / name,
        data=specimens.parent,
        cache=tmp / "cache",
        **options,  # type: ignore[arg-type]
    )
    return tmp / name / "weights"


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return forked.run("model", *map(str, arguments), environment=environment, timeout=120)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    return train_tiny(tmp_path_factory.mktemp("trained"), specimens, "whole")


def test_training_writes_weights_with_recipe_and_card(trained: Path) -> None:
    card = load_card(trained)
    assert card.name == "tiny"
    assert card.terms == "research"  # a folder of unknown terms counts as research
    assert {d.name for d in card.datasets} == {"people/train", "synthetic"}
    assert (trained / "recipe.toml").read_text() == RECIPE
    assert "people/train" in (trained / "card.md").read_text()
    assert list((trained.parent / "tensorboard").iterdir())


def test_training_can_refine_the_network_and_start_from_refined_weights(
    trained: Path, tmp_path: Path, specimens: Path
) -> None:
    options = {"data": specimens.parent, "cache": tmp_path / "cache"}
    train(parse_recipe(REFINED), REFINED, tmp_path / "refined", **options)  # type: ignore[arg-type]
    refined = Embedder.load_uncalibrated(tmp_path / "refined" / "weights", "cpu")
    assert refined.card.network == "refined"
    canvas = np.zeros((1, 32, 64), dtype=np.uint8)
    canvas[0, 8:24, 10:50:4] = 255
    assert np.linalg.norm(refined.embed(canvas)) == pytest.approx(1.0, abs=1e-3)  # half precision
    assert not np.allclose(refined.embed(canvas), Embedder.load_uncalibrated(trained, "cpu").embed(canvas))

    # With a negligible learning rate, training from these weights returns the network inside the refinement.
    text = f"""{RECIPE.split("[[datasets]]", maxsplit=1)[0].replace("2e-3", "1e-30")}
[[datasets]]
name = "synthetic"
options = {{ writers = 6, genuine = 4, forgeries = 2 }}
[training]
epochs = 1
steps_per_epoch = 2
start = "{tmp_path / "refined" / "weights"}"
"""
    card = train(parse_recipe(text), text, tmp_path / "continued", **options)  # type: ignore[arg-type]
    # The card lists the data of the start weights too.
    assert {d.name for d in card.datasets} == {"people/train", "synthetic"}
    assert card.terms == "research"
    before = load_file(tmp_path / "refined" / "weights" / "model.safetensors")
    after = load_file(tmp_path / "continued" / "weights" / "model.safetensors")
    assert np.allclose(after["describe.weight"], before["base.describe.weight"], atol=1e-6)


def test_weights_are_interpolated_with_those_of_the_start() -> None:
    torch.manual_seed(0)
    trained, start = (build("layout", widths=[4, 6, 8, 10], grid=[4, 8], cell=4) for _ in range(2))
    expected = {
        name: 0.7 * values + 0.3 * start.state_dict()[name]
        for name, values in trained.state_dict().items()
        if values.is_floating_point()
    }
    before = {name: values.clone() for name, values in start.state_dict().items()}
    interpolate(trained, start, 0.7)
    for name, values in expected.items():
        assert torch.allclose(trained.state_dict()[name], values, atol=1e-6), name
    assert all(torch.equal(values, before[name]) for name, values in start.state_dict().items())


def test_interpolation_needs_weights_to_start_from() -> None:
    with pytest.raises(DataError, match="interpolation needs start"):
        parse_recipe(RECIPE + "interpolation = 0.5\n")


def test_killed_and_resumed_run_ends_with_the_same_weights(
    trained: Path, tmp_path: Path, specimens: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "model",
        "train",
        str(recipe),
        "--out",
        str(out),
        "--data",
        str(specimens.parent),
    ]
    process = subprocess.Popen(command, cwd=Path.cwd(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.pt").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "checkpoint.pt").is_file()
    with pytest.raises(DataError, match="--resume"):
        train_tiny(tmp_path, specimens, "killed")
    finished = train_tiny(tmp_path, specimens, "killed", resume=True)
    uninterrupted, resumed = (load_file(folder / "model.safetensors") for folder in (trained, finished))
    for name, tensor in uninterrupted.items():
        assert np.array_equal(tensor, resumed[name]), name


def test_training_and_service_use_the_same_canvases(trained: Path, specimens: Path, tmp_path: Path) -> None:
    dataset = FolderDataset(specimens, "people")
    embedder = Embedder.load_uncalibrated(trained, "cpu")
    source = CropSource(dataset, load_card(trained).canvas.canvas(), NONE, tmp_path)
    packed = pack(dataset, tmp_path)
    rng = np.random.default_rng(0)
    compared = 0
    for identity, signer in enumerate(dataset.signers()):
        for number, specimen in enumerate(dataset.genuine(signer)):
            canvas = source.draw(identity, number, rng, forged=False)
            assert np.array_equal(canvas, embedder.prepare(specimen.grey()).canvas), specimen.key
            compared += 1
    assert compared == int(packed.genuine.sum())


def test_recipe_with_unknown_key_or_test_writers_is_rejected() -> None:
    with pytest.raises(DataError, match="learning_rat"):
        parse_recipe(RECIPE.replace("learning_rate", "learning_rat"))
    with pytest.raises(DataError, match="reporting only"):
        parse_recipe(RECIPE.replace('split = "train"', 'split = "test"'))
    with pytest.raises(DataError, match="not valid TOML"):
        parse_recipe("name = ")


@pytest.mark.parametrize("command", ["train", "tune", "evaluate", "calibrate", "synth"])
def test_every_command_has_help(command: str) -> None:
    completed = run_command(command, "--help")
    assert completed.returncode == 0
    assert "Usage" in completed.stdout


def test_tune_calibrate_and_evaluate_commands(model_folder: Path, tmp_path: Path, specimens: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 1"))
    root = specimens.parent
    completed = run_command("tune", recipe, "--trials", 2, "--out", tmp_path / "study", "--data", root)
    assert completed.returncode == 0, completed.stderr
    assert parse_recipe((tmp_path / "study" / "best.toml").read_text()).name == "tiny"
    completed = run_command("tune", recipe, "--trials", 1, "--out", tmp_path / "study", "--data", root)
    assert (tmp_path / "study" / "trial-0002").is_dir(), "the existing study is continued"

    # Twelve training steps are not enough for a calibration. The random convolutions of `model_folder` suffice.
    weights = tmp_path / "weights"
    shutil.copytree(model_folder, weights)
    (weights / "calibration.json").unlink()
    completed = run_command("calibrate", weights, "-d", "people", "--root", root, "--draws", 2)
    assert completed.returncode == 0, completed.stderr
    calibration = json.loads((weights / "calibration.json").read_text())
    assert calibration["weights_sha256"] == load_card(weights).sha256

    counts = ("-k", 1, "-k", 5, "--draws", 1, "--samples", 20)
    completed = run_command(
        "evaluate", weights, "people", "--root", root, *counts, "--out", tmp_path / "report"
    )
    assert completed.returncode == 0, completed.stderr
    assert re.search(r"\|\s*5\s*\|", completed.stdout)
    assert {p.suffix for p in (tmp_path / "report").iterdir()} >= {".png", ".json"}


def test_missing_recipe_is_reported_in_one_line_with_status_2(tmp_path: Path) -> None:
    completed = run_command("train", tmp_path / "none.toml")
    assert completed.returncode == 2
    assert "none.toml" in completed.stderr
    assert "Traceback" not in completed.stderr
