"""The application context: the components of a running service, which are opened at start and closed at the end.

Use cases that change data, embed signatures or decide take the whole context: they need the store and the audit
trail, and most of them the model, the worker processes and the metrics as well. Use cases that only read take the
store. Functions that compute take the embedder, its calibration or the settings.
"""

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
class AppContext:
    """The components of one running service.

    Attributes
    ----------
    settings : Settings
    embedder : Embedder
        The loaded model: card, calibration, and the comparison of templates. Signatures are embedded by `inference`.
    inference : Inference
        Embeds signatures in batches, in this process or in a deployment.
    store : Store
    signer_index : SignerIndex
        Finds the enrolled signers that are closest to a template.
    decoders : DecoderPool
        Worker processes that decode images and isolate the ink.
    metrics : Metrics
    rates : LiveRates
        Live FAR and FRR for the metrics.
    trail : Trail
        Builds and appends the entries of the audit.
    """

    settings: Settings
    embedder: Embedder
    inference: Inference
    store: Store
    signer_index: SignerIndex
    decoders: DecoderPool
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
