"""Joining the words of one signature: first and last name that are written apart are found as two candidates.

Two candidates are joined if they lie on one line as the words of a name do, and if the part of the page that they
cover together is about as probably a signature as the more probable one alone. Signatures of two people are further
apart, or the two together are recognised as no signature; a date or an amount is lower than a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates
from model.preprocessing.evidence import LIKELY
from model.preprocessing.views import INK

GAP = 1.3
"""Most space between two words, relative to the height of the taller one."""

SIDE_BY_SIDE, LOWER = 0.5, 0.42
"""Least share of the height of the lower word that lies beside the other one, and least height of the lower word
relative to the other one: digits and printed words are lower than a signature."""

DARKER = 25
"""Most difference between the darkness of two words, of 255: another pen is another person's."""

BLACK = 75
"""Percentile of the darkness of strokes that is compared."""

WORD_ODDS = 2.0
"""By itself, a word is less probable than the signature: its log-odds may be so much lower than the least."""

WHOLE_ODDS = 2.5
"""Log-odds by which the words together may be less probable than the more probable one by itself."""

DIVIDING = 0.9
"""Share of the height of two candidates from which a stroke between them is a rule that divides two fields."""

MAX_TRIED = 8
"""Most pairs on a page that are rated together: each takes a millisecond."""


@dataclass(frozen=True)
class Rated:
    """A candidate with the log-odds that it is a signature."""

    candidate: Candidate
    log_odds: float

    @property
    def box(self) -> Box:
        """In pixels of the view."""
        return self.candidate.box


def join_words(
    rated: Sequence[Rated], seen: Candidates, least: float, rate: Callable[[Rated, Rated], Rated]
) -> list[Rated]:
    """Join the candidates that are words of one signature, the nearest ones first.

    Parameters
    ----------
    rated : sequence of Rated
        The candidates of a view.
    seen : Candidates
        The view.
    least : float
        Log-odds from which a candidate is a signature; one of two words must have them.
    rate : callable
        Rates two candidates as one.

    Returns
    -------
    list of Rated
        What was joined in place of its words, with the log-odds of the whole or of its most probable word.
    """
    joined = list(rated)
    refused: set[tuple[Box, Box]] = set()
    for _ in range(MAX_TRIED):
        pairs = [
            (first, second)
            for first, second in combinations([one for one in joined if one.log_odds >= least - WORD_ODDS], 2)
            if max(first.log_odds, second.log_odds) >= least
            and (first.box, second.box) not in refused
            and may_be_words(first.box, second.box, seen)
        ]
        if not pairs:
            break
        first, second = min(pairs, key=lambda pair: _gap(pair[0].box, pair[1].box))
        best = max(first.log_odds, second.log_odds)
        whole = rate(first, second)
        if whole.log_odds >= best - WHOLE_ODDS:
            joined = [one for one in joined if one is not first and one is not second]
            joined.append(replace(whole, log_odds=max(whole.log_odds, best)))
        else:
            refused.add((first.box, second.box))
    return joined


def may_be_words(a: Box, b: Box, seen: Candidates) -> bool:
    """Whether two parts of a view lie and look as words of one signature do."""
    high, low = max(a.height, b.height), min(a.height, b.height)
    beside = min(a.bottom, b.bottom) - max(a.top, b.top)
    return (
        _gap(a, b) <= GAP * high
        and low >= LOWER * high
        and beside >= SIDE_BY_SIDE * low
        and abs(_darkness(a, seen) - _darkness(b, seen)) <= DARKER
        and not _is_divided(a, b, seen)
    )


def _gap(a: Box, b: Box) -> int:
    """Return the space between two boxes across the page, in pixels; negative if they overlap."""
    return max(a.left, b.left) - min(a.right, b.right)


def _darkness(box: Box, seen: Candidates) -> float:
    """Return the darkness of the probable strokes in a box."""
    darkness = box.of(seen.view.darkness)
    strokes = darkness[(darkness > INK) & (box.of(seen.probability) > LIKELY)]
    return float(np.percentile(strokes, BLACK)) if strokes.size else 0.0


def _is_divided(a: Box, b: Box, seen: Candidates) -> bool:
    """Whether an upright rule lies between two boxes: each is in a field of its own."""
    between = Box(min(a.right, b.right), min(a.top, b.top), max(a.left, b.left), max(a.bottom, b.bottom))
    if between.width < 2:
        return False
    inked = between.of(seen.view.darkness) > INK
    # A rule that leans by a degree runs through two columns.
    return bool((inked[:, 1:] | inked[:, :-1]).mean(axis=0).max() >= DIVIDING)
