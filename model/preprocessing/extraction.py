"""From a page to one signature: find handwritten signatures, and leave out everything else.

An upload is looked at three times, each time by the segmentation network (:mod:`model.networks.page`), which runs in
OpenCV so that the processes that decode uploads do not load torch:

1. around its ink: if all of that belongs to a signature, the image is used as it is;
2. on the page, to find the signatures;
3. on the crop around the signature, at a resolution that fits it, to tell its strokes from what lies across them.

The result is a crop with a mask, for :func:`model.preprocessing.ink.isolate`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import BadRegion, NoSignature, SeveralSignatures, UnusableSignature
from model.preprocessing.box import Box
from model.preprocessing.clusters import find_clusters
from model.preprocessing.ink import MIN_SIDE, Canvas, Ink, Prepared, fit, isolate
from model.preprocessing.segmentation import Grey, Parts
from model.preprocessing.sheet import find_sheet
from model.preprocessing.views import ink_box, ink_mask, look

STRIDE = 16
"""The network's input is padded to a multiple of this."""

LARGE_PIXELS = 100_000
"""Pixels of an input of the network after which its memory is freed."""

LOOKS = (256, 400)
"""Long sides of the ink at which an image is looked at first, in pixels.

The small copy is enough for most signatures; handwriting in small letters looks like print on it.
"""

PAGE_PIXELS, PAGE_SIDE = 300_000, 1024
"""Most pixels and the longest side of the copy on which signatures are searched."""

CROP_SIDE = 440
"""Long side of the crop on which strokes are told from what lies across them."""

CLEAN_PARTS, CLEAN_INK = 0.97, 0.75
"""Shares of the ink that must lie in parts of a signature, and be likely itself, for an image to be used as it is."""

LIKELY = 90
"""Probability, of 255, from which a pixel counts for a signature."""

MIN_CONFIDENCE = 0.5
"""Mean probability over the ink of a region from which it counts as a signature."""

UNLIKELY, UNSIGNED_SHARE = 40, 0.6
"""Without a region that counts, a page is refused if so much of its ink has at most this probability, of 255.

With less, it is compared as a whole. A page of print must not be: two people's signatures on the same form would be
accepted for what is printed on it.
"""

MAX_SIGNATURES = 20
"""Most signatures that are cut out of one page."""

RIVAL_SHARE, RIVAL_CONFIDENCE = 0.5, 0.7
"""A second signature of this confidence, this share as prominent as the first, makes the choice a guess."""

_INK = 38
"""Darkness from which a pixel of the page counts as ink."""

Region = Literal["auto", "whole"]


@dataclass(frozen=True)
class Found:
    """A signature on a page.

    Attributes
    ----------
    box : Box
        In pixels of the page.
    confidence : float
        In [0, 1]: the mean probability over its ink.
    ink : float
        Probable ink, in pixels of the copy that was searched; for comparisons within a page.
    """

    box: Box
    confidence: float
    ink: float

    @property
    def prominence(self) -> float:
        """By which signatures are ranked: what else is written by hand on a form is lower than a signature."""
        return self.confidence**4 * self.box.height


@dataclass(frozen=True)
class Extracted:
    """One signature cut out of a page.

    Attributes
    ----------
    grey : uint8 (h, w)
        The crop, 255 = white.
    keep : uint8 (h', w') or None
        255 where the signature is, 0 elsewhere, in a resolution of its own; None if all ink belongs to it.
    box : Box or None
        Where the crop lies on the page; None if it is the whole image.
    found : tuple of Found
        All signatures on the page; empty where they were not searched.
    is_located : bool
        False if the image is used as a whole because its ink could not be told apart.
    """

    grey: Grey
    keep: Grey | None
    box: Box | None
    found: tuple[Found, ...] = ()
    is_located: bool = True


class SignatureFinder:
    """Finds signatures with the segmentation network. Not thread-safe.

    Parameters
    ----------
    model : Path
        The network as ONNX: darkness (1, 1, h, w) to probability (1, 1, h, w).
    """

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self._network = cv2.dnn.readNetFromONNX(self._model)

    def probability(self, darkness: Grey) -> Grey:
        """Compute the probability that a pixel belongs to a signature: (h, w) uint8 to (h, w) uint8, 255 = 1."""
        height, width = darkness.shape
        padded = np.zeros((1, 1, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
        np.multiply(darkness, np.float32(1 / 255), out=padded[0, 0, :height, :width])
        self._network.setInput(padded)
        probability = np.asarray(np.rint(self._network.forward()[0, 0, :height, :width] * 255), np.uint8)
        if padded.size > LARGE_PIXELS:
            # It keeps some 200 bytes for each pixel of its largest input; loading it again takes 3 ms.
            self._network = cv2.dnn.readNetFromONNX(self._model)
        return probability

    def find(self, grey: Grey) -> tuple[Found, ...]:
        """Find the signatures of a page, the most prominent one first.

        Parameters
        ----------
        grey : uint8 (h, w)
            255 = white.
        """
        return self._search(grey, ink_box(grey))[0]

    def _search(self, grey: Grey, around: Box | None) -> tuple[tuple[Found, ...], float]:
        """Find signatures in the box of the ink; return them and the share of the ink that is unlikely to be one."""
        box = Box.around(grey) if around is None else around
        longest = min(
            PAGE_SIDE, math.sqrt(PAGE_PIXELS * max(box.width, box.height) / min(box.width, box.height))
        )
        view = look(grey, box, longest)
        probability = self.probability(view.darkness)
        dark = view.darkness > _INK
        clusters = find_clusters((dark & (probability > LIKELY)).astype(np.uint8))
        largest = max((cluster.ink for cluster in clusters), default=0)
        found = []
        for cluster in clusters:
            likely = cluster.box.of(probability)
            undecided = cluster.box.of(dark.view(np.uint8)).astype(bool) & (likely > 50)
            confidence = float(likely[undecided].mean()) / 255.0 if undecided.any() else 0.0
            size = max(cluster.box.width, cluster.box.height)
            if (
                cluster.ink >= max(40, 0.05 * largest)
                and size >= 0.025 * max(view.darkness.shape)
                and confidence >= MIN_CONFIDENCE
            ):
                box = view.on_image(cluster.box.grown(1)).clipped(grey.shape)
                found.append(Found(box, round(confidence, 3), cluster.ink * confidence))
        unlikely = float((probability[dark] <= UNLIKELY).mean()) if dark.any() else 1.0
        return tuple(sorted(found, key=lambda signature: -signature.prominence)), unlikely

    def extract(self, grey: Grey, region: Region | Box = "auto") -> Extracted:
        """Cut the signature out of a page.

        Parameters
        ----------
        region : "auto", "whole" or Box
            ``auto`` finds the signature, ``whole`` compares all ink of the image, a box is where the signature is;
            print and lines within it are left out.

        Raises
        ------
        NoSignature
            There is ink, but none that looks like a signature.
        SeveralSignatures
            More than one may be meant.
        BadRegion
            The box lies outside the image.
        UnusableSignature
        """
        if min(grey.shape) < MIN_SIDE or region == "whole":
            return Extracted(grey, None, None)
        if isinstance(region, Box):
            inside = region.clipped(grey.shape)
            if inside.width < MIN_SIDE or inside.height < MIN_SIDE:
                raise BadRegion(
                    f"The region {region.left},{region.top},{region.right},{region.bottom} covers less than "
                    f"{MIN_SIDE} pixels of the image, which has {grey.shape[1]} x {grey.shape[0]}."
                )
            return self._cleaned(inside.of(grey), inside, ())
        around = ink_box(grey)
        if self._is_clean(grey, around):
            return Extracted(grey, None, None)
        found, unlikely = self._search(grey, around)
        if not found:
            if unlikely < UNSIGNED_SHARE:
                return Extracted(grey, None, None, is_located=False)
            isolate(grey)  # raises what is more to the point: nothing is written, there is only a line
            raise NoSignature(
                "There is ink on the image, but no handwritten signature was found in it; upload the page or the "
                "crop that shows the signature, or set `region` to where it is (`whole` for all ink of the image)."
            )
        least = RIVAL_SHARE * found[0].prominence
        rivals = [f for f in found[1:] if f.prominence >= least and f.confidence >= RIVAL_CONFIDENCE]
        if rivals and found[0].confidence >= RIVAL_CONFIDENCE:
            raise SeveralSignatures(
                f"There are {1 + len(rivals)} signatures on the image, at "
                + "; ".join(",".join(map(str, f.box.as_tuple())) for f in (found[0], *rivals))
                + " (left,top,right,bottom in pixels); set `region` to the one that is meant."
            )
        return self._cut(grey, found[0], found)

    def extract_all(self, grey: Grey) -> list[tuple[Found, Ink]]:
        """Find all signatures of a page, and isolate the ink of each; those that are not usable are left out.

        An image whose ink all belongs to a signature has one, as for :meth:`extract`. A sheet that was photographed
        on a darker ground is put right before; boxes are in pixels of the image.
        """
        if min(grey.shape) < MIN_SIDE:
            return []
        sheet = find_sheet(grey)
        page = grey if sheet is None else sheet.grey
        around, extracted = ink_box(page), []
        found, _ = self._search(page, around)
        if len(found) > 1 and self._is_clean(page, around):
            found = (_joined(found),)
        for signature in found[:MAX_SIGNATURES]:
            with suppress(UnusableSignature):
                cut = self._cut(page, signature, found)
                ink = isolate(cut.grey, cut.keep)
                if sheet is not None:
                    box = sheet.box_on_image(signature.box).clipped(grey.shape)
                    signature = replace(signature, box=box)  # noqa: PLW2901 - the same one, elsewhere
                extracted.append((signature, ink))
        return extracted

    def _cut(self, grey: Grey, signature: Found, found: tuple[Found, ...]) -> Extracted:
        box = _with_rim(signature.box).clipped(grey.shape)
        others = [other.box for other in found if other is not signature]
        return self._cleaned(box.of(grey), box, found, others)

    def _is_clean(self, grey: Grey, around: Box | None) -> bool:
        """Whether all ink, which lies in a box, belongs to a signature, but for what isolation takes out anyway."""
        return around is not None and any(self._is_clean_at(grey, around, side) for side in LOOKS)

    def _is_clean_at(self, grey: Grey, box: Box, side: int) -> bool:
        view = look(grey, box, side)
        ink = ink_mask(view.darkness)
        if ink is None:
            return False
        probable = (self.probability(view.darkness) > LIKELY).view(np.uint8)
        parts = Parts.of(ink)
        areas, shares = _shares(parts, cv2.dilate(probable, np.ones((5, 5), np.uint8)) > 0)
        in_parts = float(areas[shares >= 0.35].sum() / areas.sum())
        itself = float((areas * shares).sum() / areas.sum())
        return in_parts >= CLEAN_PARTS and itself >= CLEAN_INK

    def _cleaned(
        self, crop: Grey, box: Box, found: tuple[Found, ...], others: list[Box] | None = None
    ) -> Extracted:
        """Mask everything but the signature in a crop."""
        view = look(crop, Box.around(crop), CROP_SIDE)
        probability = self.probability(view.darkness)
        for other in others or []:
            inside = view.from_image(other.moved(-box.left, -box.top)).clipped(probability.shape)
            if inside.width > 0 and inside.height > 0:
                inside.of(probability)[:] = 0
        keep = view.without_margin(_keep(view.darkness, probability))
        if not keep.any():
            raise NoSignature(
                "No handwritten signature was found in the region; set `region` to where the signature is."
            )
        return Extracted(crop, keep, box, found)


def prepare_signature(
    grey: Grey, canvas: Canvas, finder: SignatureFinder, region: Region | Box = "auto"
) -> Prepared:
    """Isolate the signature of a page and put it on a network's canvas; raises as :func:`isolate_signature`."""
    ink = isolate_signature(grey, finder, region)
    return Prepared(fit(ink.density, canvas), ink.quality)


def isolate_signature(grey: Grey, finder: SignatureFinder, region: Region | Box = "auto") -> Ink:
    """Cut the signature out of a page, and isolate its ink.

    A sheet that was photographed on a darker ground is put right before; regions are in pixels of the image.

    Raises
    ------
    UnusableSignature
        As :meth:`SignatureFinder.extract` and :func:`model.preprocessing.ink.isolate`.
    """
    sheet = None if region == "whole" else find_sheet(grey)
    page = grey
    if sheet is not None:
        page = sheet.grey
        region = sheet.box_on_sheet(region) if isinstance(region, Box) else region
    extracted = finder.extract(page, region)
    ink = isolate(extracted.grey, extracted.keep)
    warnings, box = list(ink.quality.warnings), extracted.box
    if not extracted.is_located:
        warnings.append("signature-not-located")
    if box is not None:
        # Whether the crop's ink reaches its edge says nothing of the page.
        warnings = [code for code in warnings if code != "touches-edge"] + ["other-marks-removed"]
        if len(extracted.found) > 1:
            warnings.append("other-signatures")
    if sheet is not None:
        warnings.append("sheet-rectified")
        box = sheet.box_on_image(box or Box.around(page)).clipped(grey.shape)
    region_used = None if box is None else box.as_tuple()
    return Ink(ink.density, replace(ink.quality, warnings=tuple(warnings), region=region_used))


def isolate_signatures(grey: Grey, finder: SignatureFinder, region: Region | Box = "auto") -> list[Ink]:
    """Cut all signatures out of a page, and isolate the ink of each, the most prominent one first.

    An image that does not have several is isolated by :func:`isolate_signature`, and so is a given region.

    Raises
    ------
    UnusableSignature
    """
    found = finder.extract_all(grey) if region == "auto" else []
    if len(found) < 2:
        return [isolate_signature(grey, finder, region)]
    rectified = ("sheet-rectified",) if find_sheet(grey) is not None else ()
    return [_of_several(signature, ink, grey, rectified) for signature, ink in found]


def _of_several(signature: Found, ink: Ink, grey: Grey, rectified: tuple[str, ...]) -> Ink:
    """State where one of several signatures was found, as :func:`isolate_signature` does for one."""
    warnings = (code for code in ink.quality.warnings if code != "touches-edge")
    return Ink(
        ink.density,
        replace(
            ink.quality,
            warnings=(*warnings, "other-marks-removed", *rectified),
            region=_with_rim(signature.box).clipped(grey.shape).as_tuple(),
        ),
    )


def _with_rim(box: Box) -> Box:
    """Grow the box of a signature by a rim, in which strokes may end that were not found."""
    return box.grown(0.12 * max(box.width, box.height) + 4)


def _joined(parts: tuple[Found, ...]) -> Found:
    """Join the parts of one signature."""
    box = Box.enclosing(part.box for part in parts)
    ink = sum(part.ink for part in parts)
    return Found(box, round(sum(part.confidence * part.ink for part in parts) / ink, 3), ink)


def _shares(parts: Parts, flags: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count the pixels of each connected part, and the share of them that has a flag; 0 for what is no ink."""
    labels, count = parts.labels.ravel(), len(parts.left)
    areas = np.bincount(labels, minlength=count).astype(np.float64)
    shares = np.bincount(labels, flags.ravel(), minlength=count) / np.maximum(areas, 1)
    areas[0] = shares[0] = 0.0
    return areas, shares


def _keep(darkness: Grey, probability: Grey) -> Grey:
    """Decide for each connected part of ink whether it is kept, left out, or kept where the network is sure.

    Most parts are either all signature or none. Where a stroke and a printed line touch, they are one part, and the
    pixels decide.
    """
    parts = Parts.of((darkness > _INK // 2).view(np.uint8))
    _, shares = _shares(parts, probability > 127)
    share = shares[parts.labels]
    sure = cv2.dilate((probability > 100).astype(np.uint8), np.ones((3, 3), np.uint8))
    whole = (share > 0.8) & (probability > 12)
    mixed = (share > 0.05) & (share <= 0.8) & (sure > 0)
    kept = (whole | mixed).astype(np.uint8)
    return np.asarray(cv2.dilate(kept, np.ones((3, 3), np.uint8)) * 255, np.uint8)
