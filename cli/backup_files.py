"""A backup as files: a manifest, and of each partition's messages NDJSON files, compressed by gzip, with checksums.

A line is that of a LOG (SPEC §9) with the key and the headers beside it, so that ``zcat`` of the files of ``feeds`` is what
`pricelink replay` and `pricelink explain --log` read. A later backup into the same folder adds files to topics that only
grow, and writes those of compacted topics anew.
"""

import base64
import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

import orjson

MANIFEST: Final = "manifest.json"
LAYOUT: Final = 1
_LEVEL: Final = 1
"""Of gzip: the others are much slower for little."""


class BackupFault(Exception):
    """A backup that cannot be read or written; the text says what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One message of any topic. ``value``: None deletes its key in a compacted topic."""

    partition: int
    offset: int
    broker_ts_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Part:
    """One file, read from the offset ``first`` up to ``end``; ``gaps``: how many offsets between have no message.

    ``sha256``: of the file as it is.
    """

    file: str
    first: int
    end: int
    messages: int
    gaps: int
    bytes: int
    sha256: str


@dataclass(slots=True)
class TopicBackup:
    """A topic. ``compacted``: its offsets mean nothing. ``identity``: of the topic at the broker; ``parts``: by partition."""

    compacted: bool
    identity: str
    parts: dict[int, list[Part]] = field(default_factory=dict)


@dataclass(slots=True)
class Manifest:
    """What a folder has. ``groups``: committed offsets by group, topic and partition."""

    made_at: str
    cluster: str
    partitions: int
    topics: dict[str, TopicBackup] = field(default_factory=dict)
    groups: dict[str, dict[str, dict[int, int]]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes the manifest, whole or not at all."""
        new = folder / f"{MANIFEST}.new"
        new.write_bytes(
            orjson.dumps({"layout": LAYOUT, **asdict(self)}, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        )
        new.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads the manifest of a folder; raises ``BackupFault``."""
        try:
            found = orjson.loads((folder / MANIFEST).read_bytes())
        except OSError as error:
            raise BackupFault(
                f"{folder} has no {MANIFEST} that can be read: {error.strerror}. Is it a backup?"
            ) from error
        except orjson.JSONDecodeError as error:
            raise BackupFault(f"{folder / MANIFEST} is not JSON: {error}") from error
        if found.get("layout") != LAYOUT:
            raise BackupFault(f"{folder} is a backup of layout {found.get('layout')}, this version reads {LAYOUT}")
        topics = {
            name: TopicBackup(
                topic["compacted"],
                topic["identity"],
                {int(number): [Part(**part) for part in parts] for number, parts in topic["parts"].items()},
            )
            for name, topic in found["topics"].items()
        }
        groups = {
            group: {topic: {int(number): at for number, at in places.items()} for topic, places in offsets.items()}
            for group, offsets in found["groups"].items()
        }
        return cls(found["made_at"], found["cluster"], found["partitions"], topics, groups)


class PartWriter:
    """Writes one file; a context manager, at whose end the bytes are on the disk. ``part`` is then what it wrote."""

    def __init__(self, folder: Path, topic: str, partition: int, first: int, end: int) -> None:
        self._folder = folder
        self._name = f"{topic}/{partition:05d}-{first:015d}-{end:015d}.ndjson.gz"
        self._first = first
        self.end = end
        self._next = first
        self._messages = 0
        self._gaps = 0
        self._hash = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._zip: gzip.GzipFile | None = None
        self.part: Part | None = None

    def __enter__(self) -> "PartWriter":
        path = self._folder / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._zip = gzip.GzipFile("", "wb", _LEVEL, cast("IO[bytes]", self), mtime=0)
        return self

    def write(self, data: bytes) -> int:
        """Takes compressed bytes."""
        assert self._file is not None
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Is what gzip asks of a file."""

    def put(self, records: Iterable[Record]) -> None:
        """Writes messages, in order of their offsets."""
        assert self._zip is not None
        lines = []
        for record in records:
            self._gaps += record.offset - self._next
            self._next = record.offset + 1
            lines.append(line_of(record))
        self._messages += len(lines)
        self._zip.write(b"".join(lines))

    def __exit__(self, kind: object, *_fault: object) -> None:
        assert self._file is not None
        assert self._zip is not None
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        if kind is None:
            self.part = Part(
                self._name,
                self._first,
                self.end,
                self._messages,
                self._gaps + self.end - self._next,
                size,
                self._hash.hexdigest(),
            )


def line_of(record: Record) -> bytes:
    """Returns a message as a line, line feed included."""
    item: dict[str, Any] = {
        "partition": record.partition,
        "offset": record.offset,
        "broker_ts": record.broker_ts_ms,
    }
    _put(item, "key", record.key)
    _put(item, "value", record.value)
    if record.headers:
        item["headers"] = [[name, base64.b64encode(value).decode()] for name, value in record.headers]
    return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)


def _put(item: dict[str, Any], name: str, data: bytes | None) -> None:
    try:
        item[name] = None if data is None else data.decode()
    except UnicodeDecodeError:
        item[f"{name}_b64"] = base64.b64encode(data or b"").decode()


def record_of(line: bytes) -> Record:
    """Returns the message of a line; raises ValueError or KeyError if it is none."""
    item = orjson.loads(line)
    headers = tuple((name, base64.b64decode(value)) for name, value in item.get("headers", ()))
    return Record(
        item["partition"], item["offset"], item["broker_ts"], _take(item, "key"), _take(item, "value"), headers
    )


def _take(item: dict[str, Any], name: str) -> bytes | None:
    if f"{name}_b64" in item:
        return base64.b64decode(item[f"{name}_b64"])
    text: str | None = item[name]
    return None if text is None else text.encode()


def read_part(folder: Path, part: Part) -> Iterator[Record]:
    """Yields the messages of a file; raises ``BackupFault``."""
    try:
        yield from map(record_of, read_lines(folder, part))
    except (ValueError, KeyError) as error:
        raise BackupFault(f"{folder / part.file} cannot be read: {error!r}") from error


def read_lines(folder: Path, part: Part) -> Iterator[bytes]:
    """Yields the lines of a file; raises ``BackupFault``."""
    try:
        with gzip.open(folder / part.file, "rb") as file:
            yield from file
    except (OSError, EOFError) as error:
        raise BackupFault(f"{folder / part.file} cannot be read: {error!r}") from error


def check_part(folder: Path, part: Part) -> None:
    """Compares a file with its checksum; raises ``BackupFault``."""
    try:
        with (folder / part.file).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BackupFault(f"{folder / part.file}: {error.strerror}") from error
    if found != part.sha256:
        raise BackupFault(f"{folder / part.file} is not what was written: its SHA-256 is {found}, not {part.sha256}")
