"""The documentation of mandates: its examples are decided as it says, and its JSON Schema is the current one.

``RECORD=1 pytest tests/app/domain/test_mandate_docs.py`` writes the schema anew.
"""

from __future__ import annotations

import json
import os
import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.domain.assignment import Evidence
from app.domain.mandate_form import Mandate
from app.domain.mandates import apply
from app.settings import ROOT

PAGE = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")
SCHEMA = ROOT / "docs" / "account.schema.json"
MANDATE = Mandate.model_validate(
    {
        "signatories": [
            {"signer_id": "anna", "panel": "A"},
            {"signer_id": "bert", "panel": "B", "limit": 5000},
            {"signer_id": "carl", "panel": "B", "always_refer": True},
        ],
        "bands": [
            {"up_to": 1000, "rules": [{"signatures": 1}]},
            {"up_to": 20000, "rules": [{"panels": {"A": 1, "B": 1}}]},
        ],
    }
)


def rows() -> list[list[str]]:
    """The cells of the table of examples."""
    table = PAGE.partition("| amount | signed |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_table_of_examples_is_read() -> None:
    assert len(rows()) > 8


@pytest.mark.parametrize("row", rows(), ids=lambda row: "-".join(row[:4]))
def test_an_example_is_decided_as_documented(row: list[str]) -> None:
    amount, signed, accepted, in_review, decision, reasons = row
    found = [(name, "accept") for name in re.findall(r"\w+", accepted)]
    found += [(name, "review") for name in re.findall(r"\w+", in_review)]
    found += [("", "reject")] * (int(signed) - len(found))

    def evidence(name: str, verdict: Any) -> dict[str, Evidence]:
        return {
            entry.signer_id: Evidence(verdict, 1.0) if entry.signer_id == name else Evidence("reject", -1.0)
            for entry in MANDATE.signatories
        }

    signatures = [evidence(name, verdict) for name, verdict in found]
    ruling = apply(MANDATE, date(2026, 1, 15), Decimal(amount), signatures)
    assert ruling.decision == decision
    assert [reason.code for reason in ruling.reasons] == reasons.split(", ")


def test_the_mandate_of_the_page_is_valid() -> None:
    text = re.search(r"/accounts/acme -d '(\{.*?\})'", PAGE, re.DOTALL)
    assert text is not None
    Mandate.model_validate_json(text[1])


def test_the_published_schema_is_the_current_one() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Mandate.model_json_schema()
    if os.environ.get("RECORD"):
        SCHEMA.write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema
