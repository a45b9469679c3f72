"""Trace contexts in a message's headers: written and read back, and anything else is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.encode_kernels import varint
from schemas.traced import EVERY_LINE, MOST_TRACES, Traced, headers_in, trace_headers, traced_in

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def packed(headers: list[tuple[str, bytes]]) -> bytes:
    texts = [part for name, value in headers for part in (name.encode(), value)]
    return varint(len(headers)) + b"".join(varint(len(text)) + text for text in texts)


def test_what_is_written_is_read_back() -> None:
    written = [Traced(7, PARENT, "", 0, 3), Traced(7, PARENT, "vendor=1,other=2", 4, 499)]
    headers = [header for each in written for header in trace_headers(each)]
    assert traced_in(7, headers_in(packed(headers))) == written


def test_a_producer_of_its_own_means_the_whole_message() -> None:
    headers: list[tuple[str, bytes | None]] = [("x", None), ("traceparent", PARENT.encode()), ("tracestate", b"a=b")]
    assert traced_in(3, headers) == [Traced(3, PARENT, "a=b", 0, EVERY_LINE)]


@pytest.mark.parametrize("parent", [
    b"", b"01", PARENT.encode()[:-1], PARENT.encode()[:-1] + b"0", PARENT.encode() + b"-00",
    b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", PARENT.upper().encode(), b"ff" + PARENT.encode()[2:], None,
])  # fmt: skip
def test_a_context_that_is_none_or_not_sampled_is_passed_over(parent: bytes | None) -> None:
    assert traced_in(0, [("traceparent", parent)]) == []


@pytest.mark.parametrize("lines", [b"", b"1", b"1-", b"-1", b"a-b", b"1-2-3", b"1-99999999999"])
def test_lines_that_cannot_be_read_are_none(lines: bytes) -> None:
    assert traced_in(0, [("traceparent", PARENT.encode()), ("traced-lines", lines)]) == []


def test_a_message_has_only_so_many() -> None:
    headers = trace_headers(Traced(0, PARENT, "", 0, 0)) * (MOST_TRACES + 9)
    assert len(traced_in(0, headers)) == MOST_TRACES


@given(st.binary(max_size=200), st.integers(0, 120))
def test_no_bytes_are_a_fault(noise: bytes, cut: int) -> None:
    headers_in(noise)
    found = headers_in(packed(trace_headers(Traced(0, PARENT, "a=b", 0, 1)))[:cut] + noise)
    assert len(traced_in(0, found)) <= MOST_TRACES
