"""The components that the use cases share: model, inference queue, store, gallery, audit trail."""

from __future__ import annotations

from dataclasses import dataclass

from app.decoding.formats import UploadLimits
from app.decoding.pool import DecoderPool
from app.inference.interface import Inference
from app.observability.metrics import Metrics
from app.services.audit.trail import Trail
from app.services.live_rates import LiveRates
from app.services.signer_index import SignerIndex
from app.settings import Settings
from app.store.store import Store
from model.networks.embedder import Embedder


@dataclass(frozen=True)
class Core:
    """The components of one running service."""

    settings: Settings
    embedder: Embedder
    queue: Inference
    store: Store
    gallery: SignerIndex
    readers: DecoderPool
    metrics: Metrics
    rates: LiveRates
    trail: Trail

    @property
    def model_version(self) -> str:
        """Name and hash of the loaded weights."""
        return self.embedder.version

    @property
    def upload_limits(self) -> UploadLimits:
        """Limits on the size of an upload."""
        return UploadLimits(max_bytes=self.settings.max_upload_bytes, max_pixels=self.settings.max_pixels)
