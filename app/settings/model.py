"""Settings of the model: weights, where the network runs, and how many processes decode images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from app.cpu import usable_cores
from app.domain.validation import INFERENCE_PATTERN
from app.settings.base import Options

ROOT = Path(__file__).resolve().parents[2]
RELEASED_WEIGHTS = ROOT / "weights" / "countersign-6"
"""Default weights; their terms are ``research``."""
PAGE_NETWORK = ROOT / "weights" / "page-4" / "model.onnx"
"""The segmentation network that finds signatures on pages; its terms are ``research``."""
PERMISSIVE_PAGE_NETWORK = ROOT / "weights" / "page-1-free" / "model.onnx"
"""The segmentation network when `allowed_terms` is ``permissive``."""
PERMISSIVE_WEIGHTS = ROOT / "weights" / "countersign-5-free"
"""Default weights when `allowed_terms` is ``permissive``."""


class ModelOptions(Options):
    """Which network the service uses, and on what."""

    weights: Path = Field(
        default=RELEASED_WEIGHTS,
        description="Folder of the weights, their card and their calibration. When it is not set and "
        "`allowed_terms` is permissive, the released weights with permissive terms are used.",
    )
    allowed_terms: Literal["any", "permissive"] = Field(
        default="any",
        description="permissive: weights that were trained or calibrated on data with research terms are refused at "
        "start. any: all terms are accepted, and the start logs them.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device that the network runs on; auto: CUDA if available."
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description="Precision of the network. auto: half precision on CUDA, 8-bit integers on CPUs that have "
        "instructions for them; float32 where either changes a distance between test images by more than 0.5 %.",
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Maximum number of signatures in one batch; 0: 32 on CUDA and 8 on the CPU, where larger batches "
        "take more memory and are not faster.",
    )
    queue_size: int = Field(
        default=256,
        ge=1,
        description="Maximum number of signatures that wait for the network; further requests get a 503.",
    )
    inference: str = Field(
        default="local",
        pattern=INFERENCE_PATTERN,
        description="Where the network runs: local, in this process; or ray://HOST:PORT, in the Ray Serve deployment "
        "that `python -m app inference deploy` starts, with the addresses of its HTTP proxies, comma-separated. "
        "Needs the extra `remote`.",
    )
    network_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of the network on the CPU; 0: half the cores, the others are for decoding.",
    )
    reading_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Worker processes that decode images and isolate ink, about 50 MB each; 0: one for each core "
        "that the network does not use, at most 8.",
    )
    reader_memory_mb: int = Field(
        default=2048,
        ge=0,
        description="MiB of memory that one worker process may allocate; an image that needs more is refused with "
        "`too-expensive`. Decoding takes about 9 bytes per pixel, 12 with coloured ink, 20 with red print. 0: no "
        "limit.",
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_weights(cls, values: dict[str, object]) -> dict[str, object]:
        if values.get("allowed_terms") == "permissive":
            return {"weights": PERMISSIVE_WEIGHTS} | values
        return values

    @property
    def workers(self) -> tuple[int, int]:
        """Number of worker processes that decode images, and of threads of the network.

        Batches run one after the other, each on half the cores. Decoding has the other half, which it shares with the
        event loop and the store.
        """
        cores = usable_cores()
        network = self.network_threads or max(1, cores // 2)
        return self.reading_processes or min(8, max(1, cores - network)), network

    def batch(self, device: Literal["cpu", "cuda"]) -> int:
        """Maximum number of signatures in one batch on this device."""
        return self.batch_size or (32 if device == "cuda" else 8)

    @property
    def inference_addresses(self) -> tuple[str, ...]:
        """``HOST:PORT`` of the proxies of the Ray Serve deployment; empty when the network runs in this process."""
        if self.inference == "local":
            return ()
        return tuple(self.inference.removeprefix("ray://").split(","))

    @property
    def page_network(self) -> Path:
        """The segmentation network that `allowed_terms` permits."""
        return PERMISSIVE_PAGE_NETWORK if self.allowed_terms == "permissive" else PAGE_NETWORK
