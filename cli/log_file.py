"""A log kept in a file (SPEC §9): one Kafka message a line, in offset order within each partition."""

import base64
import binascii
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import numpy as np
import orjson

from schemas.batches import Batch
from schemas.columns import MESSAGE

BATCH_MESSAGES: Final = 20_000
BATCH_BYTES: Final = 16 << 20
"""A batch is closed at whichever of the two comes first; the machine's answers do not depend on it (SPEC §1)."""
PENDING_BYTES: Final = 256 << 20
"""Most that may wait in open batches of all partitions together."""
_MAX_INT64: Final = 2**63 - 1


class LogFault(Exception):
    """A LOG that cannot be read; the text says which line, what is wrong with it, and what to do."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of ``feeds``: its position but for the line, its broker's timestamp, its NDJSON; headers as Kafka has them, in no LOG."""

    partition: int
    offset: int
    broker_ts_ms: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


def open_log(path: Path) -> AbstractContextManager[BinaryIO]:
    """Opens a LOG; ``-`` is standard input."""
    if path == Path("-"):
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise LogFault(f"cannot read {path}: {error.strerror}. Is that the file `pricelink log dump` wrote?") from error


def read_log(
    file: Iterable[bytes], name: str, partitions: int | None = None, on_bytes: Callable[[int], object] | None = None
) -> Iterator[Message]:
    """Yields a LOG's messages in its order.

    ``partitions``: how many there are; a message of another one is a fault. ``on_bytes`` is told the length of every
    line read. Raises LogFault at the first line that is not a message or whose offset does not follow.
    """
    last: dict[int, int] = {}
    for number, line in enumerate(file, 1):
        if on_bytes is not None:
            on_bytes(len(line))
        if not line.strip():
            continue
        message = _message(line, name, number)
        partition, offset = message.partition, message.offset
        if partitions is not None and partition >= partitions:
            _fault(
                name, number, f"partition {partition}, but there are {partitions}", f"try --partitions {partition + 1}"
            )
        if offset <= last.get(partition, -1):
            _fault(
                name,
                number,
                f"offset {offset} of partition {partition} comes after {last[partition]}",
                "sort the file by offset within each partition, and drop repeats",
            )
        last[partition] = offset
        yield message


def _message(line: bytes, name: str, number: int) -> Message:
    shape = 'a line is {"partition":0,"offset":17,"broker_ts":1767225600000,"value":"..."}'
    try:
        item = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        _fault(name, number, f"not JSON: {error}", f"{shape}; bytes that are not UTF-8 go as base64 into value_b64")
    if not isinstance(item, dict):
        _fault(name, number, "not a JSON object", shape)
    for key in ("partition", "offset", "broker_ts"):
        value = item.get(key)
        if type(value) is not int or not 0 <= value <= _MAX_INT64:
            _fault(name, number, f"{key} is {_shown(value)}, not an integer from 0", shape)
    return Message(item["partition"], item["offset"], item["broker_ts"], _value(item, name, number))


def _value(item: dict[str, object], name: str, number: int) -> bytes:
    if ("value" in item) == ("value_b64" in item):
        _fault(name, number, "it has not exactly one of value and value_b64", "value_b64 stands in place of value")
    if "value" in item:
        value = item["value"]
        if value is None:
            return b""  # a tombstone: a message without lines
        if not isinstance(value, str):
            _fault(
                name, number, f"value is {_shown(value)}, not a string", "put the message's NDJSON there as a string"
            )
        return value.encode()
    encoded = item["value_b64"]
    if not isinstance(encoded, str):
        _fault(name, number, f"value_b64 is {_shown(encoded)}, not a string", "put the message's bytes there in base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        _fault(name, number, f"value_b64 is not base64: {error}", "use the standard alphabet with padding")


def _shown(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."


def _fault(name: str, number: int, what: str, remedy: str) -> NoReturn:
    raise LogFault(f"{name}, line {number}: {what}; {remedy}")


def log_line(message: Message) -> bytes:
    """Returns a message as a line of a LOG, line feed included."""
    item: dict[str, object] = {
        "partition": message.partition,
        "offset": message.offset,
        "broker_ts": message.broker_ts_ms,
    }
    try:
        item["value"] = message.value.decode()
    except UnicodeDecodeError:
        item["value_b64"] = base64.b64encode(message.value).decode()
    return orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE)


def batches(
    messages: Iterable[Message], max_messages: int = BATCH_MESSAGES, max_bytes: int = BATCH_BYTES
) -> Iterator[Batch]:
    """Gathers messages into big batches, each of one partition and in its order."""
    waiting: dict[int, list[Message]] = {}
    sizes: dict[int, int] = {}
    for message in messages:
        partition = message.partition
        waiting.setdefault(partition, []).append(message)
        sizes[partition] = sizes.get(partition, 0) + len(message.value)
        if len(waiting[partition]) >= max_messages or sizes[partition] >= max_bytes:
            del sizes[partition]
            yield batch_of(waiting.pop(partition))
        elif sum(sizes.values()) >= PENDING_BYTES:
            largest = max(sizes, key=sizes.__getitem__)
            del sizes[largest]
            yield batch_of(waiting.pop(largest))
    for partition in sorted(waiting):
        yield batch_of(waiting[partition])


def batch_of(messages: list[Message]) -> Batch:
    """Returns consecutive messages of one partition, at least one, as a batch."""
    table = np.zeros(len(messages), MESSAGE)
    ends = np.cumsum([len(message.value) for message in messages])
    table["end"] = ends
    table["start"][1:] = ends[:-1]
    table["offset"] = [message.offset for message in messages]
    table["broker_ts_ms"] = [message.broker_ts_ms for message in messages]
    data = np.frombuffer(b"".join(message.value for message in messages), np.uint8)
    return Batch(messages[0].partition, data, table)
