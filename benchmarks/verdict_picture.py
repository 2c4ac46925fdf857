"""Draw README's picture: references, a genuine and a forged signature of a synthetic writer, and their verdicts.

``python -m benchmarks.verdict_picture [--weights FOLDER]`` writes ``docs/pictures/verdicts.png``. The signatures are
those of ``python -m model synth demo``, the verdicts those of the service with its default settings.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

from app.settings import RELEASED_WEIGHTS, Settings
from model.decision.verdict import Verdict, judge
from model.networks.embedder import Embedder
from model.preprocessing.grey import read_grey
from model.synthetic.command import write_folder

mpl.use("Agg")
from matplotlib import pyplot as plt

WRITER = "writer-002"
REFERENCES = ("01", "02", "03", "04", "05")
QUESTIONED = (("genuine", "06"), ("forged", "01"))
COLOURS = {"accept": "#1a7f37", "review": "#9a6700", "reject": "#cf222e"}
OUT = Path("docs/pictures/verdicts.png")


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    args = parser.parse_args()
    embedder = Embedder.load(args.weights, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / "demo", writers=5, genuine=8, forged=4, seed=0)
        signer = Path(folder) / "demo" / WRITER
        references = [signer / "genuine" / f"{name}.png" for name in REFERENCES]
        questioned = [signer / kind / f"{name}.png" for kind, name in QUESTIONED]
        verdicts = [_verdict(embedder, path, references) for path in questioned]
        images = [read_grey(path) for path in (*references[:3], *questioned)]
    titles = ["reference", "reference", "reference", "questioned: genuine", "questioned: skilled forgery"]
    figure, axes = plt.subplots(1, len(images), figsize=(12, 2.4))
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, verdict in zip(axes[-2:], verdicts, strict=True):
        colour = COLOURS[verdict.decision]
        axis.set_xlabel(
            f"{verdict.decision}\ndistance {verdict.distance:.2f}, threshold {verdict.threshold:.2f}, "
            f"LLR {verdict.log_likelihood_ratio:+.1f}",
            color=colour,
            fontsize=9,
        )
        for spine in axis.spines.values():
            spine.set_color(colour)
            spine.set_linewidth(2)
    figure.tight_layout()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT, dpi=110)


def _verdict(embedder: Embedder, questioned: Path, references: list[Path]) -> Verdict:
    paths = [questioned, *references]
    canvases = np.stack([embedder.prepare(read_grey(path)).canvas for path in paths])
    embeddings = embedder.embed(canvases)
    defaults = Settings.model_fields
    return judge(
        embedder.compare(embeddings[:1], embeddings[1:])[0],
        embedder.compare_among(embeddings[1:]),
        embedder.calibration,
        defaults["target_far"].default,
        defaults["review_far"].default,
    )


if __name__ == "__main__":
    main()
