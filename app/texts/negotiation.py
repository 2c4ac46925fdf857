"""Content negotiation (RFC 9110, section 12.5): the language and the media type that a request prefers."""

from __future__ import annotations

from collections.abc import Sequence

from app.texts.catalogue import LANGUAGES


def choose_language(accepted: str) -> str:
    """Return the language that an ``Accept-Language`` header prefers, or else English."""
    preferred = sorted(_weighted(accepted), key=lambda item: -item[1])
    languages = ((value.partition("-")[0], weight) for value, weight in preferred)
    return next((name for name, weight in languages if weight > 0 and name in LANGUAGES), LANGUAGES[0])


def choose_media_type(accepted: str, offered: Sequence[str]) -> str:
    """Return the media type that an ``Accept`` header prefers; the first one if it accepts none of them.

    The most specific range that matches a type gives its weight. Of types with the same weight, one that is named is
    preferred to one that only a wildcard matches, then the one that is offered earlier.

    Parameters
    ----------
    offered : sequence of str
        Media types without parameters, the default first.
    """
    ranges = dict(_weighted(accepted))
    best, best_rank = offered[0], (0.0, 0)
    for media_type in offered:
        patterns = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
        matching = [(number, ranges[pattern]) for number, pattern in enumerate(patterns) if pattern in ranges]
        if not matching:
            continue
        specificity, weight = matching[-1]
        if weight > 0 and (weight, specificity) > best_rank:
            best, best_rank = media_type, (weight, specificity)
    return best


def _weighted(header: str) -> list[tuple[str, float]]:
    """Split a header into its values, in lower case, and their weights in [0, 1]; a malformed weight counts as 0."""
    items = []
    for part in header.split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            items.append((value, min(max(float(weight), 0.0), 1.0)))
        except ValueError:
            items.append((value, 0.0))
    return items
