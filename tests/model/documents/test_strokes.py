"""Regions of ink on composed pages, and the rule that is fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.settings import PAGE_NETWORK
from model.documents import collection as collections
from model.documents.collection import Collection
from model.documents.strokes import collect, errors, fit
from model.preprocessing.regions import MEASURES
from tests.model.documents.test_documents import Drawn


def test_regions_of_composed_pages_are_collected_with_their_share_of_signatures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "training_signatures", lambda *_: Drawn())
    monkeypatch.setattr(collections, "training_digits", lambda *_: None)
    monkeypatch.setattr(collections, "SHARD", 12)
    collected = Collection(PAGE_NETWORK.parent, (("drawn", 1.0),), None, tmp_path, "strokes", 1)
    collect(collected, 0)
    with np.load(collected.shard(0)) as shard:
        measures, share, ink, crop = (shard[name] for name in ("measures", "share", "ink", "crop"))
    assert measures.shape == (len(share), len(MEASURES))
    assert len(share) == len(ink) == len(crop)
    assert 0.0 <= share.min() < share.max() <= 1.0
    assert len(np.unique(crop)) > 3
    probability = measures[:, MEASURES.index("probability")]
    assert probability[share > 0.5].mean() > 2 * probability[share <= 0.5].mean()


def test_a_rule_learns_which_regions_belong_to_a_signature() -> None:
    rng = np.random.default_rng(0)
    measures = rng.normal(size=(6000, len(MEASURES))).astype(np.float32)
    share = (measures[:, 0] + np.abs(measures[:, 1]) > 1.0).astype(np.float32)
    ink = np.full(len(share), 0.02, np.float32)
    crop = np.arange(len(share), dtype=np.int32) // 50
    tensors = [torch.from_numpy(one) for one in (measures, share, ink)]
    rule = fit(*tensors, epochs=30)
    rates = errors(rule, measures, share, ink, crop)
    assert rates["strokes lost"] < 0.15
    assert rates["other ink"] < 0.25, "three parts of four may be other ink"
    assert ((rule.log_odds(measures) >= 0.0) == (share > 0.5)).mean() > 0.9
    again = fit(*tensors, epochs=30)
    assert np.array_equal(rule.log_odds(measures), again.log_odds(measures)), (
        "the same data give the same rule"
    )
