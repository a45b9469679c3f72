"""Workbooks as rows of text, read by processes of their own (``gateway.sheet_reader``) within bounds.

A reader that a workbook is too much for ends, and says so by that; nobody else notices. One that has answered is asked
again, so that small workbooks cost no start.
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

import orjson

from gateway.profiles import MappingFault

MOST_CELLS: Final = 1_000
MOST_CHARACTERS: Final = 1 << 20
"""A row with more of either is none."""
MEMORY_BYTES: Final = 256 << 20
"""What a reader of the gateway may take: about 1.5 million cells."""
CPU_S: Final = 30
_SCRIPT: Final = Path(__file__).with_name("sheet_reader.py")
_LONGEST_LINE: Final = 16 * MOST_CHARACTERS

SheetRow = tuple[int, list[str], str | None]
"""A row: its number, from 1, its cells, and what is wrong with it."""
SheetRows = Callable[[BinaryIO], Iterator[SheetRow]]


class _Reader:
    """A process that reads one workbook after the other."""

    def __init__(self, memory_bytes: int, cpu_s: int) -> None:
        bounds = {"memory_bytes": memory_bytes, "cpu_s": cpu_s}
        bounds |= {"most_cells": MOST_CELLS, "most_characters": MOST_CHARACTERS}
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT), orjson.dumps(bounds).decode()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self._answered = True

    @property
    def ready(self) -> bool:
        """Tells whether it can be asked; else it is to be ended."""
        return self._answered and self._process.poll() is None

    def rows(self, file: BinaryIO) -> Iterator[SheetRow]:
        self._answered = False
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            self._to.write(size.to_bytes(8, "big"))
            shutil.copyfileobj(file, self._to)
            self._to.flush()
        except BrokenPipeError as error:
            raise _too_much() from error
        while line := self._from.readline(_LONGEST_LINE):
            try:
                told = orjson.loads(line)
            except orjson.JSONDecodeError:  # it ended amid it
                break
            if isinstance(told, dict):
                self._answered = True
                if told["fault"] is not None:
                    raise unreadable(told["fault"])
                return
            yield told[0], told[1], told[2] if len(told) > 2 else None
        raise _too_much()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._process.communicate()


class Workbooks:
    """The readers of one gateway, each within MEMORY_BYTES and CPU_S. Calls may come from several threads."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES, cpu_s: int = CPU_S) -> None:
        self._bounds = memory_bytes, cpu_s
        self._idle: list[_Reader] = []
        self._at_work: set[_Reader] = set()
        self._closed = False

    def rows(self, file: BinaryIO) -> Iterator[SheetRow]:
        """Yields the first sheet's rows that are not empty; raises MappingFault."""
        reader = self._reader()
        self._at_work.add(reader)
        try:
            yield from reader.rows(file)
        finally:
            self._at_work.discard(reader)
            if reader.ready and not self._closed:
                self._idle.append(reader)
            else:
                reader.end()

    def _reader(self) -> _Reader:
        while True:
            try:
                reader = self._idle.pop()
            except IndexError:
                return _Reader(*self._bounds)
            if reader.ready:
                return reader
            reader.end()

    def close(self) -> None:
        """Ends all readers; those at work say that it was too much."""
        self._closed = True
        for reader in list(self._at_work):
            reader.kill()
        while self._idle:
            self._idle.pop().end()


def sheet_rows(file: BinaryIO) -> Iterator[SheetRow]:
    """Yields the rows of the first sheet of a workbook that is trusted with as much as it takes; raises MappingFault."""
    readers = Workbooks(memory_bytes=0, cpu_s=0)
    try:
        yield from readers.rows(file)
    finally:
        readers.close()


def unreadable(why: object) -> MappingFault:
    """Returns what is wrong with a workbook that is none."""
    return MappingFault(f"this workbook cannot be read: {why}; save it anew as XLSX, without a password")


def _too_much() -> MappingFault:
    return MappingFault("this workbook takes too much to read; send it as CSV, or in parts")
