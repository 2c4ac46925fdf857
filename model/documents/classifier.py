"""Training of the candidate network: ``python -m model.documents.classifier weights/page-4 --out runs/candidates``.

Pages are composed as for the segmentation network, with other seeds and more of those that are filled in by hand, and
searched by it. The candidates that it finds are kept in ``--out``, labelled; a run that was stopped goes on with the
pages and the epochs that are missing. With ``--start``, training goes on from the candidate network of another
folder. At the end, ``candidates.onnx`` and ``candidates.safetensors`` are written beside the segmentation network;
:mod:`model.documents.rules` then fits its rules to them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from model.documents.collection import Collection, arguments, joined
from model.documents.labelling import label_candidates
from model.documents.release import release_candidate_network
from model.errors import UnusableSignature
from model.networks.candidate import CandidateNetwork
from model.preprocessing.candidates import PageNetworks
from model.preprocessing.ink import locate_ink
from model.preprocessing.recognition import CHANNELS, HEIGHT, WIDTH, candidate_images
from model.preprocessing.views import ink_box
from model.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint

SEED = 20_271

BATCH, PEAK_RATE, WEIGHT_DECAY, WARMUP = 64, 2.5e-3, 0.03, 0.1
"""Candidates to a step, the highest learning rate, weight decay, and the share of steps in which the rate rises."""


def main() -> None:
    """Collect candidates, and train the network on them."""
    parser = arguments(__doc__, pages=24_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--start", type=Path, default=None, help="folder with candidates.safetensors to go on from"
    )
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    args = parser.parse_args()
    collection = Collection.beside(args.weights, args.data, args.out, "candidates", SEED)
    shards = collection.complete(args.pages, collect, args.processes)
    images, labels = joined(shards, "images"), joined(shards, "labels")
    torch.manual_seed(SEED)
    network = CandidateNetwork()
    if args.start is not None:
        network.load_state_dict(load_file(args.start / "candidates.safetensors"))
    release_candidate_network(train(network, images, labels, args.epochs, args.out, args.rate), args.weights)


def collect(collection: Collection, number: int) -> None:
    """Compose the pages of a file, search them, and write their candidates."""
    networks = _networks(collection.weights)
    images: list[NDArray[np.uint8]] = []
    labels: list[bool] = []
    for page, _ in collection.pages(number):
        try:
            located = locate_ink(page.grey)
        except UnusableSignature:
            continue
        seen = networks.candidates(page.grey, ink_box(located, page.grey.shape))
        for one, label in label_candidates(networks, seen, page):
            images.append(candidate_images(seen.view.darkness, seen.probability, one.box))
            labels.append(label)
    collection.write(
        number,
        images=np.array(images, np.uint8).reshape(-1, CHANNELS, HEIGHT, WIDTH),
        labels=np.array(labels, bool),
    )


@cache
def _networks(weights: Path) -> PageNetworks:
    """Open the network for pages, once in a process; its own candidate network, if there is one, takes time."""
    return PageNetworks(weights / "model.onnx", with_classifier=False)


def train(
    network: CandidateNetwork,
    images: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    out: Path,
    rate: float = PEAK_RATE,
    stop_after: int | None = None,
) -> CandidateNetwork:
    """Train a network, as it is or from the checkpoint in ``out``, which is written after each epoch.

    Parameters
    ----------
    network : CandidateNetwork
        Is changed and returned.
    images : uint8 (n, CHANNELS, HEIGHT, WIDTH)
    labels : bool (n,)
    rate : float
        The highest learning rate.
    stop_after : int, optional
        End the run early, after this epoch.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    text = f"{epochs} epochs of {len(labels)} candidates"
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=WEIGHT_DECAY)
    steps = max(1, epochs * (len(labels) // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps + 1, pct_start=WARMUP)
    first = 0
    if has_checkpoint(out):
        state = load_checkpoint(out, text)
        first = state["epoch"]
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
    loader = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    for epoch in range(first, stop_after or epochs):
        network.train()
        losses = []
        for batch, target in tqdm(loader, desc=f"epoch {epoch + 1}", leave=False):
            inputs = augmented(batch).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the processor computes in it
                logits = network(inputs)[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits.float(), target.float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
        save_checkpoint(out, text, {"epoch": epoch + 1, "schedule": schedule.state_dict(), **state})
    return network


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Move, stretch and slant pictures, and change their contrast: uint8 (n, CHANNELS, h, w) to float32 in [0, 1]."""
    pairs = torch.split(images.float().div(255.0), 2, dim=1)
    return torch.cat([_augmented(pair) for pair in pairs], dim=1)


def _augmented(pair: torch.Tensor) -> torch.Tensor:
    """Augment darkness and probability alike in shape, and each by itself in contrast: (n, 2, h, w)."""
    count = len(pair)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.empty(count, *shape).uniform_(low, high)

    turn = torch.diag_embed(uniform(0.9, 1.12, 2))
    turn[:, 0, 1] = uniform(-0.12, 0.12)
    affine = torch.cat([turn, uniform(-0.06, 0.06, 2, 1)], dim=2)
    grid = functional.affine_grid(affine, list(pair.shape), align_corners=False)
    moved = functional.grid_sample(pair, grid, align_corners=False).clamp(0.0, 1.0)
    contrast = torch.stack([uniform(0.6, 1.5), uniform(0.7, 1.4)], dim=1)
    return moved.pow(contrast[:, :, None, None])


if __name__ == "__main__":
    main()
