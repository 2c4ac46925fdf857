"""The card that lies beside released weights: what they are, what they were trained on, where they fail.

It follows Mitchell et al., "Model cards for model reporting" (FAT* 2019). ``card.json`` is what the service
reads; ``card.md`` is the same for people.
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
    """The canvas the network looks at, as :class:`model.preprocessing.ink.Canvas` with JSON round it."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    method: Literal["box", "moments"] = "moments"
    fill: float = Field(default=0.9, gt=0, le=1)

    def canvas(self) -> Canvas:
        """The canvas that :func:`model.preprocessing.ink.fit` takes."""
        return Canvas(self.height, self.width, self.method, self.fill)


class TrainingData(_Frozen):
    """One data set that went into the weights."""

    name: str
    terms: Terms
    signers: int
    signatures: int
    citation: str = ""


class MeasuredError(_Frozen):
    """One measured equal error rate, with its 95 % interval over writers; rates are in [0, 1]."""

    dataset: str
    references: int
    forgeries: Literal["skilled", "random"]
    eer: float
    low: float
    high: float


class Card(_Frozen):
    """What is known about one set of weights."""

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
        """Name and the first 12 digits of the weights' hash: what every template is stamped with."""
        return f"{self.name}@{self.sha256[:12]}"

    def markdown(self) -> str:
        """The card as a page of Markdown."""
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
            lines += ["| data | references | forgeries | EER | 95 % interval |", "|---|---:|---|---:|---|"]
            lines += [
                f"| {e.dataset} | {e.references} | {e.forgeries} | {e.eer:.1%} | {e.low:.1%} to {e.high:.1%} |"
                for e in self.errors
            ]
        else:
            lines.append("None on held-out people yet; run `python -m model evaluate`.")
        if self.validation:
            lines += ["", "On validation writers during training (these chose the checkpoint): "]
            lines += [f"- {name}: {value:.3f}" for name, value in sorted(self.validation.items())]
        lines += ["", "## Not to be used for", ""]
        lines += [
            "- deciding alone about a person: the output is strength of evidence, for a human to weigh;",
            "- identifying the author of a forgery: the distances say nothing about who forged;",
            "- writing that is not a signature or a name.",
            *(f"- Known weakness: {line}" for line in self.limitations),
        ]
        return "\n".join(lines) + "\n"
