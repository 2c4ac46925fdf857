"""Model card: description, training data, measured errors and limitations of released weights.

Cards follow Mitchell et al., "Model cards for model reporting" (FAT* 2019). The service reads ``card.json``;
``card.md`` has the same content in a readable form.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.preprocessing.ink import Canvas
from model.types import Metric, Terms


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CanvasSpec(_Frozen):
    """JSON form of :class:`model.preprocessing.ink.Canvas`, the input of the network."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    method: Literal["box", "moments"] = "moments"
    fill: float = Field(default=0.9, gt=0, le=1)

    def canvas(self) -> Canvas:
        """Return the canvas for :func:`model.preprocessing.ink.fit`."""
        return Canvas(self.height, self.width, self.method, self.fill)


class TrainingData(_Frozen):
    """One data set that the weights were trained on."""

    name: str
    terms: Terms
    signers: int
    signatures: int
    citation: str = ""


class MeasuredError(_Frozen):
    """One measured equal error rate with its 95 % confidence interval over writers; rates are in [0, 1]."""

    dataset: str
    references: int
    forgeries: Literal["skilled", "random"]
    eer: float
    low: float
    high: float


class Card(_Frozen):
    """Description of one set of weights."""

    name: str
    created: datetime
    network: str
    network_options: dict[str, Any] = {}
    canvas: CanvasSpec
    ink_version: int
    dimension: int = Field(gt=0)
    metric: Metric
    parameters: int
    datasets: tuple[TrainingData, ...] = ()
    terms: Terms
    recipe_sha256: str
    sha256: str
    commit: str = ""
    validation: dict[str, float] = {}
    errors: tuple[MeasuredError, ...] = ()
    limitations: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """``name@`` and the first 12 digits of the weights' hash. Every template records it."""
        return f"{self.name}@{self.sha256[:12]}"

    def markdown(self) -> str:
        """Format the card as a Markdown page."""
        lines = [
            f"# {self.version}",
            "",
            (
                f"Made {self.created:%Y-%m-%d}. Network `{self.network}` with {self.parameters:,} parameters; "
                f"{self.canvas.height} x {self.canvas.width} canvas of isolated ink to {self.dimension} numbers, "
                f"compared by {self.metric} distance."
            ),
            "",
            f"Terms: **{self.terms}**. Recipe: `recipe.toml` (sha256 {self.recipe_sha256[:12]})"
            + (f", commit {self.commit[:12]}." if self.commit else "."),
            "",
            "## Trained on",
            "",
            "| data | terms | identities | signatures |",
            "|---|---|---:|---:|",
            *(f"| {d.name} | {d.terms} | {d.signers} | {d.signatures} |" for d in self.datasets),
            "",
            *(f"- {d.name}: {d.citation}" for d in self.datasets if d.citation),
            "",
            "## Measured errors",
            "",
        ]
        if self.errors:
            lines += ["By `benchmarks/accuracy.py`, with the command that is in README.md.", ""]
            lines += ["| data | references | forgeries | EER | 95 % interval |", "|---|---:|---|---:|---|"]
            lines += [
                f"| {e.dataset} | {e.references} | {e.forgeries} | {e.eer:.1%} | {e.low:.1%} to {e.high:.1%} |"
                for e in self.errors
            ]
        else:
            lines.append("None measured on held-out writers yet; run `python -m model evaluate`.")
        if self.validation:
            lines += ["", "On validation writers during training (used to select the checkpoint): "]
            lines += [f"- {name}: {value:.3f}" for name, value in sorted(self.validation.items())]
        lines += ["", "## Not to be used for", ""]
        lines += [
            "- automated decisions about a person: the output is evidence for a human examiner to weigh;",
            "- identifying the author of a forgery: the distances do not indicate who forged the signature;",
            "- writing that is not a signature or a name.",
            *(f"- Known weakness: {line}" for line in self.limitations),
        ]
        return "\n".join(lines) + "\n"
