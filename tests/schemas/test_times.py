"""Times there and back, by the exact reader and by the kernel (SPEC §2)."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import config as numba_config

from schemas.instants import NOT_A_TIME, days_from_civil, rfc3339_ms
from schemas.octets import PADDING
from schemas.times import LATEST_MS, format_ms, parse_rfc3339
from tests.schemas.test_agreement import TIMES

LOCAL_TIMES = st.datetimes(datetime(1969, 12, 30), datetime(9999, 12, 31))  # noqa: DTZ001 - Hypothesis wants them bare
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def by_kernel(text: str) -> int | None:
    written = text.encode()
    data = written + bytes(PADDING)
    ms = rfc3339_ms(data if numba_config.DISABLE_JIT else np.frombuffer(data, np.uint8), 0, len(written))
    return None if ms == NOT_A_TIME else ms


def both(text: str) -> int | None:
    exact = parse_rfc3339(text)
    assert by_kernel(text) == exact
    return exact


@given(st.integers(0, LATEST_MS))
def test_there_and_back(ms: int) -> None:
    text = format_ms(ms)
    assert len(text) == 24
    assert both(text) == ms
    assert text == (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(LOCAL_TIMES, st.integers(-1439, 1439), st.integers(0, 9))
def test_offsets_and_fractions(local: datetime, offset_minutes: int, digits: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    sign = "-" if offset_minutes < 0 else "+"
    offset = f"{sign}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
    fraction = f".{local.microsecond:06d}000"[: digits + 1] if digits else ""
    shown = moment.replace(microsecond=int(f"{fraction[1:]:0<6}"[:6] or 0))
    expected = (shown - EPOCH) // timedelta(milliseconds=1)
    assert both(f"{local.isoformat(timespec='seconds')}{fraction}{offset}") == (
        expected if 0 <= expected <= LATEST_MS else None
    )


@given(st.sampled_from(TIMES), st.integers(0, 40), st.characters(codec="utf-8"))
def test_any_character_anywhere(text: str, at: int, character: str) -> None:
    both(text[:at] + character + text[at + 1 :])
    both(text[:at] + character + text[at:])
    both(text[:at] + text[at + 1 :])


@pytest.mark.parametrize("text", TIMES)
def test_table(text: str) -> None:
    both(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00.0019+08:00", 1),
        ("9999-12-31T23:59:59.9999Z", LATEST_MS),
        ("9999-12-31T23:59:59.999-00:01", None),
        ("1969-12-31T23:59:59.9999Z", None),
        ("2026-01-01T00:00:60Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01t00:00:00Z", None),
        ("2026-01-01T00:00:00z", None),
        ("2026-01-01T00:00:00-00:00", 1_767_225_600_000),
    ],
)
def test_edges(text: str, ms: int | None) -> None:
    assert both(text) == ms


def test_cut_at_the_end_of_9999() -> None:
    assert format_ms(LATEST_MS + 1) == format_ms(2**62) == "9999-12-31T23:59:59.999Z"


@given(st.dates())
def test_days(day: date) -> None:
    assert days_from_civil(day.year, day.month, day.day) == (day - date(1970, 1, 1)).days
