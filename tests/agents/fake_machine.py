"""A tiny machine with the promises of the real one: a running sum a code, one alert a record, rows with positions."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import orjson

from schemas.batches import Batch, DeadLetter, Effects, Run, StateRows
from schemas.columns import BANDS, EVENT, KINDS, RECORD_TYPES

OWN = b"\x00partition"


def pairs_of(rows: StateRows) -> list[tuple[bytes, bytes]]:
    raw = rows.data.tobytes()
    return [(raw[start:middle], raw[middle:end]) for start, middle, end in rows.spans.tolist()]


class FakeMachine:
    """Keeps count and sum by code. A line ``{"code":"C1","add":3}`` gives an alert; one that is no JSON is dead."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.clock_ms = 0
        self.rows: dict[bytes, tuple[int, int, int]] = {}  # code: count, sum, offset applied
        self._changed: set[bytes] = set()

    def apply(self, batch: Batch, reached: object = None) -> Effects:
        raw = batch.data.tobytes()
        alerts: list[tuple[bytes, bytes, bytes, int, int]] = []
        letters: list[DeadLetter] = []
        outcomes = np.zeros((len(RECORD_TYPES), 3), np.int64)
        records = 0
        for start, end, offset, broker_ts in batch.messages.tolist():
            for line, text in enumerate(raw[start:end].split(b"\n")):
                if not text.strip():
                    continue
                records += 1
                try:
                    record = orjson.loads(text)
                except ValueError:
                    letters.append(DeadLetter(self.partition, offset, line, "not_json", text))
                    continue
                if record.get("type") == "tick":
                    self.clock_ms = max(self.clock_ms, record["at"])
                    continue
                event = self._count(record["code"].encode(), record["add"], offset, line)
                if event is not None:
                    alerts.append((*event, offset, broker_ts))
                outcomes[1, 0] += 1
        return Effects(_run(alerts), _run([]), outcomes, records, letters)

    def _count(self, code: bytes, add: int, offset: int, line: int) -> tuple[bytes, bytes, bytes] | None:
        count, total, applied = self.rows.get(code, (0, 0, -1))
        if offset * 1000 + line <= applied:
            return None  # the row was restored from behind this record
        count, total = count + 1, total + add
        self.rows[code] = (count, total, offset * 1000 + line)
        self._changed.add(code)
        event_id = b"fake:%s:%d/1" % (code, count)
        value = orjson.dumps({"event_id": event_id.decode(), "code": code.decode(), "sum": total, "offset": offset})
        return code, event_id, value

    def open_alerts(self) -> npt.NDArray[np.int64]:
        return np.zeros((len(KINDS), len(BANDS)), np.int64)

    def checkpoint(self, next_offset: int) -> StateRows:
        rows = [(code, orjson.dumps(self.rows[code])) for code in sorted(self._changed)]
        self._changed.clear()
        rows.append((OWN, orjson.dumps([next_offset, self.clock_ms])))
        data, spans = b"", []
        for key, value in rows:
            spans.append((len(data), len(data) + len(key), len(data) + len(key) + len(value)))
            data += key + value
        return StateRows(np.frombuffer(data, np.uint8), np.array(spans, np.int64).reshape(-1, 3))

    def restore(self, blocks: Iterable[StateRows]) -> int | None:
        next_offset = None
        for key, value in (pair for block in blocks for pair in pairs_of(block)):
            if key == OWN:
                offset, clock_ms = orjson.loads(value)
                next_offset = max(offset, next_offset or 0)
                self.clock_ms = max(self.clock_ms, clock_ms)
            else:
                count, total, applied = orjson.loads(value)
                if applied > self.rows.get(key, (0, 0, -1))[2]:
                    self.rows[key] = (count, total, applied)
        return next_offset


def _run(events: list[tuple[bytes, bytes, bytes, int, int]]) -> Run:
    table = np.zeros(len(events), EVENT)
    data = b""
    pieces = []
    at = 0
    for number, (code, event_id, value, offset, broker_ts) in enumerate(events):
        table[number] = (at, at + len(value), at + len(value), at + len(value) + len(event_id), broker_ts, offset,
                         broker_ts, code, 1, 0, 1, 0, 0)  # fmt: skip
        pieces += [value, event_id]
        at += len(value) + len(event_id)
    data = b"".join(pieces)
    return Run(np.frombuffer(data, np.uint8), table)
