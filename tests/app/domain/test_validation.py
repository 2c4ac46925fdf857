"""What a value that is refused is told, in the words of this service."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, ValidationError

from app.domain.validation import describe_fault, field_path


class Form(BaseModel):
    count: Annotated[int, Field(ge=1, le=500, multiple_of=1)] = 1
    even: Annotated[int, Field(multiple_of=2)] = 2
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    amount: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    big: Annotated[float, Field(le=1e6)] = 0
    kind: Literal["a", "b"] = "a"
    name: Annotated[str, Field(min_length=1, max_length=3)] = "x"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "has to be a whole number of at least 1"),
        ({"count": 501}, "has to be a whole number of at most 500"),
        ({"count": "9" * 5000}, "has too many digits"),
        ({"even": 3}, "has to be a multiple of 2"),
        ({"share": 0}, "has to be a number greater than 0"),
        ({"share": 1}, "has to be a number less than 1"),
        ({"seconds": -0.5}, "has to be a number of at least 0"),
        ({"seconds": 1e6}, "has to be a number of at most 86400"),
        ({"amount": -1}, "has to be a number of at least 0"),
        ({"big": 2e6}, "has to be a number of at most 1000000"),
        ({"kind": "c"}, "has to be 'a' or 'b'"),
        ({"name": ""}, "has too few characters; the minimum is 1"),
        ({"name": "abcd"}, "has too many characters; the maximum is 3"),
        ({"name": 1}, "has to be text"),
    ],
)
def test_a_message_names_the_limit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Form(**values)
    assert [describe_fault(fault) for fault in refused.value.errors()] == [message]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "limit: has to be a whole number of at least 1."),
        ("limit=501", "limit: has to be a whole number of at most 500."),
        ("limit=05", "limit: has to be a whole number, in digits only and without leading zeros."),
        ("limit=x", "limit: has to be a whole number, in digits only and without leading zeros."),
    ],
)
def test_a_caller_gets_the_message(client: TestClient, query: str, detail: str) -> None:
    told = client.get(f"/signers?{query}")
    assert (told.status_code, told.json()["detail"]) == (400, detail)


class Yes(BaseModel):
    decision: Literal["yes"]


class No(BaseModel):
    decision: Literal["no"]
    reason: int


class Answers(BaseModel):
    answers: list[Annotated[Yes | No, Field(discriminator="decision")]]


def test_the_path_of_a_fault_names_members_only() -> None:
    with pytest.raises(ValidationError) as refused:
        Answers(answers=[{"decision": "yes"}, {"decision": "no", "reason": "x"}])  # type: ignore[list-item]
    (fault,) = refused.value.errors()
    assert fault["loc"] == ("answers", 1, "no", "reason")
    assert field_path(("body", *fault["loc"]), Answers) == ["answers", "1", "reason"]
    assert field_path(("query", "no"), None) == ["no"]
    assert field_path(("body",), Answers) == []
