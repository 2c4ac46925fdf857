"""Training in two processes: the result of one, also after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import distributed, nn

from model.errors import DataError
from model.networks.embedder import Embedder
from model.training.data import pack_masters
from model.training.distributed import Gather, Rows, Share, SumOfAll, synchronise
from model.training.recipes import parse_recipe
from model.training.train import train
from tests.forked import Forked, server
from tests.service import free_port

RECIPE = """
name = "shared"
seed = 3
canvas = { height = 32, width = 64, method = "moments", fill = 0.8 }
network = { name = "layout", options = { widths = [4, 6, 8, 10], grid = [2, 4], cell = 4 } }
objectives = [
    { name = "signature-similarity", forgeries = "own-class" },
    { name = "reference-set", forgeries = "own-class" },
]
optimiser = { name = "sgd", learning_rate = 1e-3, momentum = 0.9, l2 = 1e-4, clip = 5.0 }
sampler = { identities = 3, genuine = 5, forgeries = 2 }
[[datasets]]
name = "people"
split = "train"
[[validation]]
name = "people"
split = "validation"
[training]
epochs = 2
steps_per_epoch = 4
average = 0.9
keep = "last"
checkpoint_steps = 2
"""
RENDERED = """
name = "shared"
seed = 3
metric = "local"
canvas = { height = 32, width = 64, method = "moments", fill = 0.9 }
network = { name = "local", options = { widths = [4, 6, 8, 10], canvas = [32, 64], cell = 4, scale = false } }
objectives = [{ name = "matched-similarity", forgeries = "own-class" }]
optimiser = { name = "sgd", learning_rate = 1e-3, momentum = 0.9 }
sampler = { identities = 3, genuine = 5, forgeries = 2, pseudo_writers = 0.7, joined = 0.5 }
augmentation = { stroke = 0.0, jpeg = 0.0, widths = [0.9, 2.0], noise = 0.3, elastic = 0.3, bitonal = 0.3 }
[[datasets]]
name = "people"
split = "train"
[training]
epochs = 2
steps_per_epoch = 2
rendering = "device"
[refinement]
batches = 3
"""


def start(recipe: Path, out: Path, specimens: Path) -> Forked:
    """Start training in two processes by torchrun as a user would."""
    words = [
        "--standalone", "--nproc-per-node=2", "-m", "model", "train",
        recipe, "--out", out, "--data", specimens.parent,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return Forked("torch.distributed.run", *map(str, words), environment=environment)


def run_forks(recipe: Path, out: Path, specimens: Path, *options: object, processes: int = 2) -> str:
    """Train to the end in processes with the environment that torchrun gives them; return what they print.

    They are forks: processes that torchrun starts spend five seconds each on imports, and less than one on training.
    """
    words = [str(word) for word in ("train", recipe, "--out", out, "--data", specimens.parent, *options)]
    shared = {
        "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    workers = [
        Forked(
            "model", *words, environment=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(processes)
    ]
    try:
        told = [worker.communicate(timeout=200) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0] * processes, told
    return "".join(output for output, _ in told)


def kill(process: Forked) -> None:
    """Kill torchrun and the training processes, which have process groups of their own."""
    launcher = psutil.Process(process.pid)
    for part in (*launcher.children(recursive=True), launcher):
        with contextlib.suppress(psutil.NoSuchProcess):
            part.kill()
    process.communicate()


def finish(process: Forked, expected: int = 0) -> tuple[str, str]:
    try:
        output, errors = process.communicate(timeout=200)
    finally:
        if process.poll() is None:
            kill(process)
    assert (process.returncode == 0) == (expected == 0), errors
    return output, errors


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def tensors(run: Path) -> dict[str, NDArray[np.float32]]:
    return {
        name: values.astype(np.float32)
        for name, values in load_file(run / "best.safetensors").items()
        if values.dtype == np.float32
    }


def largest_difference(one: Path, other: Path) -> float:
    """The largest difference between weights of two runs, relative to the largest weight of their tensor, or 0.05."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    return max(
        float(np.abs(values - second[name]).max() / max(np.abs(values).max(), 0.05))
        for name, values in first.items()
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    """An uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    output, _ = finish(start(write(folder, RECIPE), folder / "run", specimens))
    assert output.count("shared@") == 1, "only the first process reports"
    return folder / "run"


def test_two_processes_end_with_the_weights_of_one(whole: Path, tmp_path: Path, specimens: Path) -> None:
    one = tmp_path / "one"
    run_forks(write(tmp_path, RECIPE), one, specimens, processes=1)
    assert largest_difference(one, whole) < 1e-4  # sums in another order; some percent if statistics differed
    # Without torchrun, the batch normalisation is torch's, which sums less precisely.
    text, data = RECIPE, specimens.parent
    train(parse_recipe(text), text, tmp_path / "alone", data=data, cache=tmp_path / "cache")
    assert largest_difference(tmp_path / "alone", whole) < 1e-2
    canvas = np.zeros((1, 32, 64), dtype=np.uint8)
    canvas[0, 8:24, 10:50:4] = 255
    embeddings = [Embedder.load_uncalibrated(run / "weights", "cpu").embed(canvas) for run in (one, whole)]
    assert np.allclose(*embeddings, atol=2e-3)  # released weights are in half precision
    cards = [json.loads((run / "weights" / "card.json").read_text()) for run in (one, whole)]
    assert cards[0]["validation"] == pytest.approx(cards[1]["validation"], abs=1e-3)
    assert len(list((whole / "tensorboard").iterdir())) == 1, "only the first process writes files"


def test_canvases_that_are_rendered_on_the_device_are_shared(tmp_path: Path, specimens: Path) -> None:
    masters = tmp_path / "masters"
    pack_masters(parse_recipe(RENDERED), masters, specimens.parent, tmp_path / "cache")
    recipe = write(tmp_path, RENDERED)
    for processes in (1, 2):
        out = tmp_path / str(processes)
        run_forks(recipe, out, specimens, "--masters", masters, processes=processes)
    # The best shift of a cell is chosen in half precision, so a rounding error can change the choice.
    assert largest_difference(tmp_path / "1", tmp_path / "2") < 1e-3


def test_killed_processes_resume_and_end_with_the_same_weights(
    whole: Path, tmp_path: Path, specimens: Path
) -> None:
    recipe, out = write(tmp_path, RECIPE), tmp_path / "killed"
    process = start(recipe, out, specimens)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    kill(process)
    assert (out / "checkpoint.pt").is_file()
    assert not (out / "weights").exists()
    shutil.copytree(out, tmp_path / "one")
    _, errors = finish(start(recipe, out, specimens), expected=1)
    assert "--resume" in errors
    run_forks(recipe, out, specimens, "--resume")
    expected, resumed = tensors(whole), tensors(out)
    for name, values in expected.items():
        assert np.array_equal(values, resumed[name]), name
    # One process continues what two have begun.
    run_forks(recipe, tmp_path / "one", specimens, "--resume", processes=1)
    assert largest_difference(whole, tmp_path / "one") < 1e-4


def test_a_limit_on_the_time_ends_all_processes_at_the_same_step(tmp_path: Path, specimens: Path) -> None:
    text = RECIPE.replace("epochs = 2", "epochs = 100000")
    begin = time.monotonic()
    output = run_forks(write(tmp_path, text), tmp_path / "run", specimens, "--max-minutes", 0.02)
    assert time.monotonic() - begin < 120
    assert "shared@" in output


@pytest.mark.parametrize(("total", "count", "multiple"), [(21, 2, 1), (21, 4, 32), (64, 3, 32), (5, 5, 1)])
def test_shares_are_the_rows_of_the_batch(total: int, count: int, multiple: int) -> None:
    shares = [Share(rank, count, multiple) for rank in range(count)]
    rows = np.concatenate([share.rows(total) for share in shares])
    assert rows[:total].tolist() == list(range(total))
    assert len(rows) == -(-total // multiple) * multiple
    assert set(rows[total:]) <= set(range(total))
    assert shares[0].sizes(total) == [len(share.rows(total)) for share in shares]


def test_a_batch_of_fewer_rows_than_processes_is_refused() -> None:
    with pytest.raises(DataError, match="start fewer"):
        Share(0, 4).rows(3)


class Small(nn.Module):
    """All layers that depend on other rows, in the two memory formats."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.4)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(108, 6), nn.Dropout(0.3), nn.BatchNorm1d(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.head(self.features(x))
        return embeddings


def small_step(share: Share, folder: Path) -> None:
    """Run a step of the small network in one of the processes, or alone, and save what came out."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(7, 1, 8, 8, generator=rng).add_(1.0).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(5)
    network: nn.Module = Small().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if share.count > 1:
        network = synchronise(network, "cpu", Rows(share.sizes(7), share.rank))
    x = x[torch.from_numpy(share.rows(7))].requires_grad_()
    embeddings = network(x)
    if share.count > 1:
        embeddings = Gather.apply(embeddings, share.sizes(7))
    loss = (embeddings @ embeddings.T).tril(-1).square().sum() + embeddings[0, 0]
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert x.grad is not None
    if share.count > 1:
        # What DistributedDataParallel does with the gradients of parameters.
        gradients = [SumOfAll.apply(gradient) / share.count for gradient in gradients]
        x.grad /= share.count
    network.eval()
    torch.save(
        {
            "embeddings": embeddings.detach(),
            "gradients": gradients,
            "rows": share.rows(7),
            "input": x.grad,
            "state": network.state_dict(),
            "drawn": torch.rand(3),
            "evaluated": network(torch.ones(2, 1, 8, 8)).detach(),
        },
        folder / f"{share.count}-{share.rank}.pt",
    )


def join_and_step(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    small_step(Share(rank, 2), folder)
    distributed.destroy_process_group()


def test_layers_compute_in_two_processes_what_they_compute_in_one(tmp_path: Path) -> None:
    small_step(Share(), tmp_path)
    processes = [server().Process(target=join_and_step, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    alone = torch.load(tmp_path / "1-0.pt", weights_only=False)
    for rank in range(2):
        shared = torch.load(tmp_path / f"2-{rank}.pt", weights_only=False)
        for name in ("embeddings", "evaluated"):
            torch.testing.assert_close(shared[name], alone[name], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(shared["input"], alone["input"][shared["rows"]], atol=2e-3, rtol=1e-3)
        assert shared["state"].keys() == alone["state"].keys()
        for name, values in alone["state"].items():
            torch.testing.assert_close(shared["state"][name], values, atol=1e-5, rtol=1e-5)
        for one, other in zip(alone["gradients"], shared["gradients"], strict=True):
            torch.testing.assert_close(other, one, atol=2e-3, rtol=1e-3)
        # Both have drawn as many random numbers as one process.
        assert torch.equal(shared["drawn"], alone["drawn"])
