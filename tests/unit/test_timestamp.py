from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from functions.shared.timestamp import format_timestamp, months_before, parse_timestamp


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-20T15:00:59.936Z", datetime(2026, 11, 20, 15, 0, 59, 936000, UTC)),
        ("2026-11-20T16:00:59+01:00", datetime(2026, 11, 20, 15, 0, 59, 0, UTC)),
        ("2026-11-20 12:55:11 UTC", datetime(2026, 11, 20, 12, 55, 11, 0, UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T15:00:59.1234567Z", datetime(2026, 11, 20, 15, 0, 59, 123457, UTC)),
        ("2026-11-30T23:59:59.9999999Z", datetime(2026, 11, 30, 23, 59, 59, 999999, UTC)),
        ("2026-11-30T23:59:59.999999499-01:00", datetime(2026, 12, 1, 0, 59, 59, 999999, UTC)),
        ("2026-11-20T15:00:59.9999994Z", datetime(2026, 11, 20, 15, 0, 59, 999999, UTC)),
        (1763650859.9999998, datetime(2025, 11, 20, 15, 0, 59, 999999, UTC)),
        (1763650860.0, datetime(2025, 11, 20, 15, 1, 0, 0, UTC)),
        (-0.0000001, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)),
        (1763650859, datetime(2025, 11, 20, 15, 0, 59, 0, UTC)),
        (1763650859.5, datetime(2025, 11, 20, 15, 0, 59, 500000, UTC)),
        (
            datetime(2026, 11, 20, 16, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 11, 20, 15, tzinfo=UTC),
        ),
    ],
)
def test_a_time_is_read_as_producers_write_it(written: Any, moment: datetime) -> None:
    assert parse_timestamp(written) == moment
    assert parse_timestamp(written).tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        10**15,
        -(10**15),
        "yesterday",
        "2026-11-20T15:00:59",
        "2026-13-01",
        "2026-02-30",
        "",
        True,
        [],
        1e300,
        "1763650859x",
    ],
)
def test_what_is_no_time_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"not an RFC 3339 time|no offset"):
        parse_timestamp(written)


def test_a_message_about_a_time_shows_no_python() -> None:
    for written, shown in (
        (None, "null"),
        (True, "true"),
        (datetime(2026, 11, 20), "2026-11-20 00:00:00"),  # noqa: DTZ001
        (10**5000, "a value"),
    ):
        with pytest.raises(ValueError, match=f"^.?{shown}"):
            parse_timestamp(written)


@pytest.mark.parametrize(
    "written", ["2026-11-20T15:00:59Z", "2026-11-20T15:00:59.936000Z", "2026-11-20T15:00:59.000001Z"]
)
def test_a_time_is_written_as_it_is_read(written: str) -> None:
    assert format_timestamp(parse_timestamp(written)) == written


@pytest.mark.parametrize(
    ("day", "months", "earlier"),
    [
        (datetime(2026, 11, 24, tzinfo=UTC), 3, datetime(2026, 8, 24, tzinfo=UTC)),
        (datetime(2026, 1, 31, tzinfo=UTC), 3, datetime(2025, 10, 31, tzinfo=UTC)),
        (datetime(2026, 5, 31, tzinfo=UTC), 3, datetime(2026, 2, 28, tzinfo=UTC)),
        (datetime(2026, 3, 1, tzinfo=UTC), 12, datetime(2025, 3, 1, tzinfo=UTC)),
    ],
)
def test_months_are_those_of_the_calendar(day: datetime, months: int, earlier: datetime) -> None:
    assert months_before(day, months) == earlier
