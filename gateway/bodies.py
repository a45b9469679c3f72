"""A streamed body as pieces of whole lines: decompressed, bounded, however it was cut on its way."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import zstandard

from schemas.packets import Rejected
from schemas.parser import MAX_LINE_BYTES

PIECE_BYTES: Final = 256 * 1024
"""About so much is checked at a time."""
ENCODINGS: Final = ("identity", "gzip", "zstd")
_SLICE_BYTES: Final = 512
"""zstd bounds no output: so little goes in at a time that no more than 16 MiB can come out."""
_MOST_FOLD: Final = 4_096
"""A slice that grows by more is no feed."""
_WINDOW_BYTES: Final = 8 << 20


class BadBody(Exception):
    """Bytes that are not of the encoding they claim."""


class TooLarge(Exception):
    """A body over its bound."""


class Inflater(Protocol):
    """Decompresses what is put; ``ended``: whether it is complete."""

    ended: bool

    def put(self, data: bytes) -> Iterator[bytes]:
        """Yields what comes out. Raises BadBody, TooLarge."""


class _Identity:
    ended = True

    def put(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]


@dataclass(slots=True)
class _Gzip:
    left: int
    ended: bool = False
    _stream: Any = None

    def put(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream is None:
                self._stream = zlib.decompressobj(31)
                self.ended = False
            try:
                made = self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise BadBody(f"not gzip: {error}") from error
            self.left -= len(made)
            if self.left < 0:
                raise TooLarge
            yield made
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._stream = None
                self.ended = True


@dataclass(slots=True)
class _Zstd:
    left: int
    ended: bool = False
    _decompressor: Any = field(default_factory=lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES))
    _stream: Any = None

    def put(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SLICE_BYTES):
            rest = data[start : start + _SLICE_BYTES]
            while rest:
                if self._stream is None:
                    self._stream = self._decompressor.decompressobj()
                    self.ended = False
                try:
                    made = self._stream.decompress(rest)
                except zstandard.ZstdError as error:
                    raise BadBody(f"not zstd: {error}") from error
                self.left -= len(made)
                if self.left < 0 or len(made) > _SLICE_BYTES * _MOST_FOLD:
                    raise TooLarge
                yield made
                rest = b""
                if self._stream.eof:
                    rest = self._stream.unused_data
                    self._stream = None
                    self.ended = True


def inflater_of(encoding: str, most_bytes: int) -> Inflater:
    """Returns what decompresses a ``Content-Encoding`` of ENCODINGS; raises KeyError for others."""
    if encoding == "identity":
        return _Identity()
    made: Inflater = {"gzip": _Gzip, "zstd": _Zstd}[encoding](most_bytes)
    return made


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines. ``first_line``: the number of the first one, from 1; ``too_large``: lines that are not in ``data``."""

    data: bytes
    first_line: int
    too_large: list[Rejected]


class Lines:
    """Takes a body's chunks as they come, gives pieces of whole lines. Holds at most one line and one chunk."""

    def __init__(self, inflater: Inflater, most_bytes: int) -> None:
        self._inflater = inflater
        self._left = most_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._line = 1
        self._skipping: bytes | None = None

    def put(self, chunk: bytes) -> Iterator[Piece]:
        """Yields the lines that are whole now. Raises BadBody, TooLarge."""
        gathered: list[bytes] = []
        size = 0
        for data in self._inflater.put(chunk):
            self._left -= len(data)
            if self._left < 0:
                raise TooLarge
            gathered.append(data)
            size += len(data)
            if size >= PIECE_BYTES:
                yield from self._cut(b"".join(gathered))
                gathered, size = [], 0
        if size:
            yield from self._cut(b"".join(gathered))

    def end(self) -> Iterator[Piece]:
        """Yields the last line, if its line feed is missing. Raises BadBody for a body that is cut short."""
        if not self._inflater.ended:
            raise BadBody("the compressed body ends amid its data")
        if self._skipping is not None:
            yield Piece(b"", self._line, [self._too_large(self._skipping)])
        elif self._rest:
            yield self._piece(b"".join(self._rest))

    def _cut(self, data: bytes) -> list[Piece]:
        pieces = []
        if self._skipping is not None:
            end = data.find(b"\n")
            if end < 0:
                return []
            pieces.append(Piece(b"", self._line, [self._too_large(self._skipping)]))
            self._skipping = None
            self._line += 1
            data = data[end + 1 :]
        end = data.rfind(b"\n") + 1
        if end:
            pieces.append(self._piece(b"".join([*self._rest, data[:end]])))
            self._rest, self._rest_bytes = [], 0
        if len(data) > end:
            self._rest.append(data[end:])
            self._rest_bytes += len(data) - end
        if self._rest_bytes > MAX_LINE_BYTES + 1:  # a carriage return may still make it too large by one
            self._skipping = b"".join(self._rest)[:MAX_LINE_BYTES]
            self._rest, self._rest_bytes = [], 0
        elif len(self._rest) > 64:
            self._rest = [b"".join(self._rest)]
        return pieces

    def _piece(self, data: bytes) -> Piece:
        first = self._line
        self._line += data.count(b"\n")
        return Piece(data, first, [])

    def _too_large(self, head: bytes) -> Rejected:
        return Rejected(self._line, "too_large", None, f"the line is longer than {MAX_LINE_BYTES} bytes", head)
