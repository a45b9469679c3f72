"""Bodies cut anyhow give the same lines; bombs, stumps and lines without end are bounded."""

import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies import BadBody, Lines, Piece, TooLarge, inflater_of
from schemas.parser import MAX_LINE_BYTES

MOST = 1 << 30


def encoded(data: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.compress(data)
    return zstandard.compress(data) if encoding == "zstd" else data


def pieces(data: bytes, encoding: str = "identity", cut: int = 1 << 16, most: int = MOST) -> list[Piece]:
    lines = Lines(inflater_of(encoding, most), most)
    found = [piece for start in range(0, len(data), cut) for piece in lines.put(data[start : start + cut])]
    return [*found, *lines.end()]


@given(
    st.lists(st.sampled_from([b"", b"a", b"bb\r", b"c" * 3_000, b"d" * (MAX_LINE_BYTES + 9)]), max_size=12),
    st.sampled_from(["identity", "gzip", "zstd"]),
    st.sampled_from([1, 7, 4_096, 1 << 16]),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_lines_keep_their_bytes_and_numbers(lines: list[bytes], encoding: str, cut: int, fed: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if fed and lines else b"")
    if encoding == "identity":
        cut = max(cut, 64)
    found: dict[int, bytes] = {}
    for piece in pieces(encoded(data, encoding), encoding, cut):
        numbered = enumerate(piece.data.split(b"\n"), piece.first_line)
        found |= {number: line for number, line in numbered if line}
        for rejected in piece.too_large:
            assert rejected.reason == "too_large"
            found[rejected.line] = rejected.original
    expected = {number: line for number, line in enumerate(lines, 1) if line}
    assert found.keys() == expected.keys()
    for number, line in found.items():
        assert line == expected[number] or line == expected[number][:MAX_LINE_BYTES]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_are_one_body(encoding: str) -> None:
    data = encoded(b"a\n", encoding) + encoded(b"b\nc", encoding)
    assert b"".join(piece.data for piece in pieces(data, encoding, 5)) == b"a\nb\nc"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_stumps_and_nonsense_are_told(encoding: str) -> None:
    whole = encoded(b"a line\n" * 1_000, encoding)
    with pytest.raises(BadBody):
        pieces(whole[:-3], encoding)
    with pytest.raises(BadBody):
        pieces(b"no such thing at all", encoding)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_bombs_go_off_in_a_small_room(encoding: str) -> None:
    bomb = encoded(b"\0" * (200 << 20), encoding)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(TooLarge):
        pieces(bomb, encoding, most=8 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20


def test_a_line_without_end_is_bounded() -> None:
    lines = Lines(inflater_of("identity", MOST), MOST)
    tracemalloc.start()
    for _ in range(400):
        assert list(lines.put(b"x" * 65_536)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
    [piece] = lines.end()
    assert [rejected.reason for rejected in piece.too_large] == ["too_large"]
    with pytest.raises(TooLarge):
        pieces(b"a\n" * 100, most=150)
