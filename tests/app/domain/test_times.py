"""Times of RFC 3339 in requests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.times import parse_time


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("2026-01-15T09:30:00Z", 0),
        ("2026-01-15t09:30:00z", 0),
        ("2026-01-15T09:30:00.5Z", 500_000),
        ("2026-01-15T09:30:00.1234567Z", 123_456),  # as .NET writes it
        ("2026-01-15T10:30:00.000001+01:00", 1),
        ("2026-01-14T23:30:00-10:00", 0),
        ("2026-01-15T09:30:00-00:00", 0),
    ],
)
def test_a_time_is_read_in_utc(text: str, fraction: int) -> None:
    time = parse_time(text)
    assert time == datetime(2026, 1, 15, 9, 30, 0, fraction, tzinfo=UTC)
    assert time.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2026-01-15",
        "2026-01-15T09:30:00",
        "2026-01-15T09:30Z",
        "2026-01-15 09:30:00Z",
        "20260115T093000Z",
        "2026-01-15T09:30:00,5Z",
        "2026-01-15T09:30:00+0100",
        "2026-01-15T09:30:00+24:00",
        "2026-02-30T09:30:00Z",
        "2026-01-15T24:00:00Z",
        "0000-01-15T09:30:00Z",
        "٢٠٢٦-01-15T09:30:00Z",
        "2026-01-15T09:30:00Z\n",
        1_768_469_400,
        None,
    ],
)
def test_what_is_no_time_with_a_zone_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="send a time with its time zone"):
        parse_time(value)


@pytest.mark.parametrize(
    "time",
    ["2026-02-30T09:30:00Z", "0000-01-15T09:30:00Z", "2026-01-15T09:30:00+24:00", "2026-01-15T09:60:00Z"],
)
def test_a_time_that_does_not_exist_is_refused_as_such(time: str) -> None:
    with pytest.raises(ValueError, match=r"^there is no such time \("):
        parse_time(time)


@pytest.mark.parametrize(
    "time", ["2026-12-31T23:59:60Z", "2026-12-31t23:59:60.5z", "2027-01-01T00:59:60+01:00"]
)
def test_a_leap_second_is_refused_as_such(time: str) -> None:
    with pytest.raises(ValueError, match="is a leap second") as refused:
        parse_time(time)
    assert "time zone" not in str(refused.value)


def test_times_beyond_the_calendar_are_its_ends() -> None:
    assert parse_time("0001-01-01T00:00:00+23:59") == datetime.min.replace(tzinfo=UTC)
    assert parse_time("9999-12-31T23:59:59-23:59") == datetime.max.replace(tzinfo=UTC)
