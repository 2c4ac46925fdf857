"""What scanners, fax machines and phones make of a sheet, together with the mask of its signatures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Captured:
    """An image of a page.

    Attributes
    ----------
    grey : uint8 (h, w)
        255 = white.
    signature : uint8 (h, w)
        Coverage by signatures, 255 = full.
    """

    grey: Pixels
    signature: Pixels


def scan(brightness: Floats, signature: Pixels, rng: np.random.Generator) -> Captured:
    """Scan a page: slightly turned, blurred, unevenly lit, noisy, compressed, at times two-tone."""
    page, mask = brightness, signature
    if rng.random() < 0.4:
        page, mask = _turn(page, mask, float(rng.normal(0, 2.0)))
    page = _degrade(page, rng)
    grey = _to_bytes(page)
    kind = rng.random()
    if kind < 0.12:
        grey = _two_tone(grey, rng)
    elif kind < 0.45:
        grey = _compress(grey, int(rng.integers(20, 92)))
    return Captured(grey, mask)


def photograph(brightness: Floats, signature: Pixels, rng: np.random.Generator) -> Captured:
    """Photograph a page: in perspective on a desk or filling the frame, shaded, blurred and compressed."""
    height, width = brightness.shape
    margin = rng.uniform(-0.04, 0.12) if rng.random() < 0.6 else 0.0
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target += rng.normal(0, 0.025, (4, 2)).astype(np.float32) * np.float32(min(width, height))
    inset = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32) * np.float32(
        margin * min(width, height)
    )
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target + inset)
    desk = np.full((height, width), rng.uniform(0.05, 0.75), np.float32)
    grain = rng.uniform(0.7, 1.3, (int(rng.integers(2, 40)), int(rng.integers(2, 8)))).astype(np.float32)
    desk *= cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    page = cv2.warpPerspective(brightness, matrix, (width, height), flags=cv2.INTER_LINEAR)
    on_sheet = cv2.warpPerspective(np.ones_like(brightness), matrix, (width, height), flags=cv2.INTER_LINEAR)
    mask = np.asarray(
        cv2.warpPerspective(signature, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8
    )
    page = page * on_sheet + desk * (1.0 - on_sheet)
    light = rng.uniform(0.35, 1.0, (3, 3)).astype(np.float32)
    page = page * cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        page = page * _shadow((height, width), rng)
    page = _degrade(np.asarray(page, np.float32), rng)
    return Captured(_compress(_to_bytes(page), int(rng.integers(30, 90))), mask)


def capture(brightness: Floats, signature: Pixels, rng: np.random.Generator) -> Captured:
    """Scan most pages and photograph the others."""
    return (photograph if rng.random() < 0.3 else scan)(brightness, signature, rng)


def _degrade(page: Floats, rng: np.random.Generator) -> Floats:
    if rng.random() < 0.5:
        page = np.asarray(cv2.GaussianBlur(page, (0, 0), rng.uniform(0.3, 1.1)), np.float32)
    if rng.random() < 0.2:
        factor = rng.uniform(0.5, 0.9)
        size = page.shape[::-1]
        small = cv2.resize(page, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        page = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.float32)
    dark, bright = rng.uniform(0.0, 0.25), rng.uniform(0.8, 1.0)
    page = dark + (bright - dark) * page
    if rng.random() < 0.7:
        page = page + rng.normal(0, rng.uniform(0.003, 0.035), page.shape).astype(np.float32)
    return np.asarray(page, np.float32)


def _turn(page: Floats, mask: Pixels, degrees: float) -> tuple[Floats, Pixels]:
    height, width = page.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(page, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=1.0)
    turned_mask = cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(turned, np.float32), np.asarray(turned_mask, np.uint8)


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    height, width = shape
    points = (rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)).astype(np.int32)
    mask = np.ones(shape, np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), float(rng.uniform(0.3, 0.8)))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.5 + 12 * rng.random() ** 2), np.float32)


def _two_tone(grey: Pixels, rng: np.random.Generator) -> Pixels:
    level = float(np.percentile(grey, 50)) * rng.uniform(0.6, 0.85)
    return np.where(grey > level, 255, 0).astype(np.uint8)


def _compress(grey: Pixels, quality: int) -> Pixels:
    _, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


def _to_bytes(page: Floats) -> Pixels:
    return np.asarray(np.clip(np.rint(page * 255.0), 0, 255), np.uint8)
