"""The policy of a decision: the rates or the fixed threshold of a signer, and which values are supported."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.errors import UnsupportedRate
from app.domain.records import Signer
from app.settings import Settings
from model.decision.calibration import RATE_DIGITS, Calibration
from model.decision.verdict import round_down


@dataclass(frozen=True)
class Policy:
    """The settings that choose the thresholds for one signer."""

    target_far: float
    review_far: float | None
    fixed_threshold: float | None


def resolve_policy(
    settings: Settings, target_far: float | None = None, fixed_threshold: float | None = None
) -> Policy:
    """Combine a signer's own policy with the service's.

    A signer's `target_far` takes precedence over the service's fixed threshold because it is the more specific
    setting.
    """
    if fixed_threshold is None and target_far is None:
        fixed_threshold = settings.fixed_threshold
    target = settings.target_far if target_far is None else target_far
    review = settings.review_far if settings.review_far is not None and settings.review_far > target else None
    return Policy(target, review, fixed_threshold)


def resolve_band_policy(settings: Settings, signer: Signer, band_far: float | None) -> Policy:
    """Combine the `target_far` of an amount's band with the signer's own policy and the service's.

    The lower `target_far` applies, so that neither the limit of the band nor that of the signer is exceeded. A
    signer's `fixed_threshold` takes precedence, as over any `target_far`.
    """
    if band_far is None or signer.fixed_threshold is not None:
        return resolve_policy(settings, signer.target_far, signer.fixed_threshold)
    return resolve_policy(
        settings, band_far if signer.target_far is None else min(band_far, signer.target_far)
    )


def refuse_unsupported_rate(calibration: Calibration, target_far: float) -> None:
    """Raise UnsupportedRate when the calibration does not support a `target_far`."""
    low, high = calibration.far_range
    if not low <= target_far <= high:
        raise UnsupportedRate(
            f"target_far {target_far:g} is not supported; the calibration supports {low:.4f} to {high}."
        )


def refuse_unsupported_threshold(calibration: Calibration, threshold: float) -> None:
    """Raise UnsupportedRate when nearly any signature would be within a fixed threshold."""
    highest = calibration.largest_threshold
    if threshold > highest:
        raise UnsupportedRate(
            f"fixed_threshold {threshold:g} is not supported: it would accept the signatures of nearly all people. "
            f"The calibration supports up to {round_down(highest, RATE_DIGITS):g}."
        )
