"""Read this first: how a record becomes an alert.

The machine of one partition is a function of the partition's log and of the policy: no I/O, no clock, no randomness.
``Machine.apply`` takes a run of messages and goes through four stages:

1. ``schemas.scanner.scan``: the messages' bytes become RECORD rows, one a line; odd lines take the exact parser.
2. ``schemas.scanner.admit``: lines from the future or of another partition's code are rejected.
3. ``streams.steps.apply_records``: each record in log order, before it the timers due by its time. A record or an
   instant's timers of a code are one *step*: quotes take force, wait or are held (``holds``), the national lowest
   follows (``lowest``), every province is evaluated (``linkage``), orders are scored (``bargains``). A step reads what
   the code looked like before it and after it, and notes what changed as alert rows (``effects``).
4. ``streams.render``: alert rows and price changes become the bytes that are sent.

All state lies in the arrays of ``streams.layout``; ``checkpoint`` hands out the rows that changed, ``restore`` takes
them back. Kernels cannot allocate: where a pool is short they stop between two steps, and the machine grows it.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from schemas.batches import Batch, DeadLetter, Effects, Run, StateRows
from schemas.columns import DISABLED_CODE, EVENT, FROM_FUTURE, OK, REASONS, WRONG_PARTITION
from schemas.policy import Policy, load_policy
from schemas.scanner import Scanned, admit, scan
from streams.checkpoint import codes_room, raw_of, write_codes
from streams.derived import count_open, rebuild
from streams.effects import APPLIED, STALE
from streams.growth import grown, new_state, octets, rested, scratch_state, unwritten, with_room_to_rebuild
from streams.kernels import is_newer
from streams.layout import EVENT_BYTES
from streams.listings import Listed, listings_of, retired_of
from streams.partition_row import PARTITION_KEY, PartitionRow
from streams.policies import with_policy
from streams.pools import ENOUGH, SHORT_EFFECTS
from streams.render import CHANGE_ROOM, alerts_room, render_alerts, render_changes
from streams.saved_rows import OF_CODE, OF_PARTITION, OF_SUPPLY, copied, kinds_of, some_of
from streams.state import State
from streams.steps import DONE, SHORT, apply_records, evaluate_policy
from streams.supply_rows import (
    read_rows,
    supply_room,
    worth_saving,
    write_contracts,
    write_deliveries,
    write_orders,
)

Indexes = npt.NDArray[np.int32]


class Machine:
    """The state of one partition and the rules that move it. Not safe for use by two threads at once."""

    def __init__(self, partition: int, partitions: int, policy: Policy) -> None:
        """``policy``: the one of the file, which holds until the partition's first policy record."""
        self.partition = partition
        self.partitions = partitions
        self.policy = policy
        self._state = with_policy(with_policy(new_state(), policy), policy)
        self._scratch = scratch_state()
        self._policy_given = False

    @property
    def clock_ms(self) -> int:
        """The partition clock (SPEC §2)."""
        return int(self._state.meta[0].clock_ms)

    def open_alerts(self) -> npt.NDArray[np.int64]:
        """Returns how many alerts are open: int64[kind, band], as in ``schemas.columns``."""
        counts = self._state.open_alerts.copy()
        counts[:, 0] = 0
        return counts

    def apply(self, batch: Batch, reached: Callable[[str], object] | None = None) -> Effects:
        """Applies a batch whole. Returns what it caused, in log order.

        ``reached``: told each stage that is done, ``scan``, ``rules``, ``render``, by who wants to know how long they take.
        """
        scanned = scan(batch)
        admit(scanned.records, self.partition, self.partitions)
        if reached is not None:
            reached("scan")
        runs = _Runs(self.partition, self.policy.version)
        self._state = self._state.replace(data=scanned.data, records=scanned.records)
        self._state.outcomes[:] = 0
        meta = self._state.meta[0]
        meta.policy = meta.rejected = 0
        start = 0
        while True:
            status, start = apply_records(self._state, start)
            if status == DONE:
                break
            if status == SHORT:
                self._make_room(runs)
                continue
            self._step_policy(scanned.policies[start], start, runs)
            start += 1
        if reached is not None:
            reached("rules")
        runs.render(self._state)
        effects = Effects(
            alerts=runs.alerts(),
            price_changes=runs.changes(),
            outcomes=self._state.outcomes.copy(),
            records=scanned.records.size,
            dead_letters=_dead_letters(self.partition, scanned) if meta.rejected else [],
        )
        if reached is not None:
            reached("render")
        return effects

    def _make_room(self, runs: "_Runs | None") -> None:
        short = int(self._state.meta[0].short)
        if short == SHORT_EFFECTS and runs is not None:
            runs.render(self._state)
        elif short != ENOUGH:
            self._state = grown(self._state, short)

    def _step_policy(self, policy: Policy, record: int, runs: "_Runs") -> None:
        """The step of a policy record: every code of the partition, in order of code (SPEC §3)."""
        meta = self._state.meta[0]
        placed = self._state.records[record]
        outcomes = self._state.outcomes[placed["type"]]
        if not is_newer(placed["at_ms"], placed["seq"], meta.policy_at_ms, meta.policy_seq):
            outcomes[STALE] += 1
            return
        outcomes[APPLIED] += 1
        meta.policy_at_ms, meta.policy_seq = placed["at_ms"], placed["seq"]
        meta.policy = runs.add_version(policy.version)
        self._policy_given = True
        self.policy = policy
        self._state = with_policy(self._state, policy)
        if self._state.rules[0].supply_window_ms != self._state.was_rules[0].supply_window_ms:
            self._state = with_room_to_rebuild(self._state)
            rebuild(self._state)
        meta.policy_step = 1
        codes = self._state.codes[: meta.codes]
        order = np.argsort(np.ascontiguousarray(codes["code"]).view("S27").ravel(), kind="stable")
        start = 0
        while start < order.size:
            start = evaluate_policy(self._state, order, start, record)
            if start < order.size:
                self._make_room(runs)
        meta.policy_step = 0

    def checkpoint(self, next_offset: int) -> StateRows:
        """Returns the rows that changed since the last call, the partition's own last.

        ``next_offset``: of ``feeds``, behind the last message applied. Rows of supply come before codes: should a crash
        cut the rows short, see ``supply_rows``.
        """
        s = self._state
        meta = s.meta[0]
        own = PartitionRow(
            next_offset=next_offset,
            clock_ms=self.clock_ms,
            policy_at_ms=int(meta.policy_at_ms),
            policy_seq=int(meta.policy_seq),
            policy=self.policy.canonical if self._policy_given else None,
        ).to_bytes()
        codes = s.dirty[: meta.dirty]
        supply = (
            s.dirty_contracts[: meta.dirty_contracts],
            s.dirty_deliveries[: meta.dirty_deliveries],
            s.dirty_orders[: meta.dirty_orders],
        )
        rows = StateRows(*self._write(codes, *supply, own, keep=True))
        s.codes["saved"][codes], s.codes["dirty"][codes] = 1, 0
        meta.dirty = meta.dirty_orders = meta.dirty_deliveries = meta.dirty_contracts = 0
        self._state = rested(s)
        return rows

    def _write(
        self, codes: Indexes, contracts: Indexes, deliveries: Indexes, orders: Indexes, own: bytes, *, keep: bool
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        s = self._state
        room = codes_room(s, codes) + supply_room(s, contracts, deliveries, orders)
        data = unwritten(room + len(PARTITION_KEY) + len(own))
        spans = np.zeros((codes.size + contracts.size + deliveries.size + orders.size + 1, 3), np.int64)
        raw, scratch_raw = raw_of(s), raw_of(self._scratch)
        end, row = 0, 0
        for write, indexes in ((write_contracts, contracts), (write_deliveries, deliveries), (write_orders, orders)):
            end = write(s, self._scratch, scratch_raw, indexes, keep, data, end, spans[row:])
            row += indexes.size
        end = write_codes(s, raw, self._scratch, scratch_raw, codes, data, end, spans[row:])
        spans[-1] = end, end + len(PARTITION_KEY), end + len(PARTITION_KEY) + len(own)
        data[end : spans[-1, 2]] = np.frombuffer(PARTITION_KEY + own, np.uint8)
        return data, spans

    def restore(self, blocks: Iterable[StateRows]) -> int | None:
        """Takes the rows of the partition's state topic, from its start, older versions and repeats among them.

        Rows count once the partition row behind them is there: it ends a checkpoint. Of each row the latest version is
        taken that is not ahead of the last finished checkpoint; one that is ahead only where Kafka has kept no other.
        Returns the offset of ``feeds`` to go on from, or None if no checkpoint was ever finished.
        """
        best: PartitionRow | None = None
        waiting: deque[StateRows] = deque()
        ahead: list[StateRows] = []
        for block in blocks:
            kinds = kinds_of(block)
            own_rows = np.flatnonzero(kinds == OF_PARTITION)
            for start, end in block.spans[own_rows, 1:].tolist():
                own = PartitionRow.from_bytes(block.data[start:end].tobytes())
                if best is None or own.next_offset >= best.next_offset:
                    best = own
            finished = int(own_rows[-1]) + 1 if own_rows.size else 0
            if finished and best is not None:
                waiting.append(some_of(block, kinds[:finished] != OF_PARTITION))
                while waiting:
                    ahead += self._read(waiting.popleft(), best.next_offset, only_lost=False)
            if finished < len(block.spans):
                waiting.append(StateRows(block.data, block.spans[finished:]))
        if best is None:
            return None
        ahead = [late for rows in ahead for late in self._read(rows, best.next_offset, only_lost=False)]
        ahead += waiting
        for kind in (OF_CODE, OF_SUPPLY):
            for rows in ahead:
                self._read(some_of(rows, kinds_of(rows) == kind), best.next_offset, only_lost=True)
        self._resume(best)
        return best.next_offset

    def _resume(self, own: PartitionRow) -> None:
        meta = self._state.meta[0]
        meta.clock_ms = own.clock_ms
        meta.policy_at_ms, meta.policy_seq = own.policy_at_ms, own.policy_seq
        if own.policy is not None:
            self._policy_given = True
            policy = load_policy(own.policy)
            if not isinstance(policy, Policy):
                raise ValueError(f"the saved policy of partition {self.partition} is unfit: {policy.message}")
            self.policy = policy
            self._state = with_policy(self._state, self.policy)
        self._state = with_room_to_rebuild(self._state)
        rebuild(self._state)
        count_open(self._state)
        self._state = rested(self._state)

    def _read(self, rows: StateRows, limit: int, *, only_lost: bool) -> list[StateRows]:
        """Takes rows; returns those that are applied from offset ``limit`` on, and were not taken.

        ``only_lost``: of these, take what would be lost otherwise.
        """
        count = len(rows.spans)
        self._state = self._state.replace(data=rows.data)
        left = octets(count)
        start = 0
        while start < count:
            raw, scratch_raw = raw_of(self._state), raw_of(self._scratch)
            start = read_rows(self._state, raw, self._scratch, scratch_raw, rows.spans, start, limit, only_lost, left)
            self._make_room(None)
        return [copied(some_of(rows, left == 1))] if left.any() else []

    def listings(self, province: int) -> list[Listed]:
        """Returns the listings of a province (an index)."""
        return listings_of(self._state, province)

    def retired(self) -> dict[str, str | None]:
        """Returns the codes that are disabled or moved, and where they moved, if anywhere."""
        return retired_of(self._state)

    def rows(self) -> dict[bytes, bytes]:
        """Returns every row by key, as a first checkpoint would write it: to compare two machines."""
        s = self._state
        meta = s.meta[0]
        codes = s.codes[: meta.codes]
        contracts, orders = np.zeros(meta.contracts, np.int32), np.zeros(meta.orders, np.int32)
        some_contracts, some_orders = worth_saving(s, contracts, orders)
        deliveries = np.arange(meta.deliveries, dtype=np.int32)
        supply = (contracts[:some_contracts], deliveries, orders[:some_orders])
        saved = codes["saved"].copy()
        codes["saved"] = 0
        data, spans = self._write(np.arange(codes.size, dtype=np.int32), *supply, b"", keep=False)
        codes["saved"] = saved
        raw = data.tobytes()
        return {raw[start:key_end]: raw[key_end:end] for start, key_end, end in spans[:-1].tolist()}


class _Runs:
    """Renders effects in portions and joins them."""

    def __init__(self, partition: int, version: str) -> None:
        self._partition = partition
        self._versions = [version]
        self._alerts: list[Run] = []
        self._changes: list[Run] = []

    def add_version(self, version: str) -> int:
        """Returns the index of a policy version that holds from now on."""
        self._versions.append(version)
        return len(self._versions) - 1

    def render(self, s: State) -> None:
        """Renders the effects noted so far, and forgets them.

        The room is many times what is used, so what is kept is a copy.
        """
        meta = s.meta[0]
        if meta.alerts:
            versions = np.frombuffer("".join(self._versions).encode(), np.uint8).reshape(-1, 16)
            table = np.zeros(meta.alerts, EVENT_BYTES).view(np.recarray)
            data = unwritten(alerts_room(s))
            used = render_alerts(s, self._partition, versions, data, table)
            self._alerts.append(Run(data[:used].copy(), table.view(np.ndarray).view(EVENT)))
        if meta.changes:
            table = np.zeros(meta.changes, EVENT_BYTES).view(np.recarray)
            data = unwritten(CHANGE_ROOM * int(meta.changes))
            used = render_changes(s, self._partition, data, table)
            self._changes.append(Run(data[:used].copy(), table.view(np.ndarray).view(EVENT)))
        meta.alerts = meta.evidence = meta.named = meta.changes = 0

    def alerts(self) -> Run:
        """Returns all alerts rendered."""
        return _joined(self._alerts)

    def changes(self) -> Run:
        """Returns all price changes rendered."""
        return _joined(self._changes)


def _joined(runs: list[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    if not runs:
        return Run(octets(0), np.zeros(0, EVENT))
    tables = []
    end = 0
    for run in runs:
        table = run.table.copy()
        for name in ("start", "end", "id_start", "id_end"):
            table[name] += end
        tables.append(table)
        end += run.data.size
    return Run(np.concatenate([run.data for run in runs]), np.concatenate(tables))


def _dead_letters(partition: int, scanned: Scanned) -> list[DeadLetter]:
    letters = []
    for index in np.flatnonzero(scanned.records["reason"] != OK).tolist():
        record = scanned.records[index]
        reason = int(record["reason"])
        reject = scanned.rejects.get(index)
        moved_to = None
        field, message = (reject.field, reject.message) if reject else (None, None)
        if reason == FROM_FUTURE:
            field, message = "at", "more than 5 minutes after the message's broker timestamp"
        elif reason == WRONG_PARTITION:
            field, message = "code", "belongs to another partition: key messages by code"
        elif reason == DISABLED_CODE:
            moved_to = record["moved_to"][: record["moved_to_length"]].tobytes().decode() or None
            field, message = "code", f"moved to {moved_to}" if moved_to else "disabled"
        letters.append(
            DeadLetter(
                partition=partition,
                offset=int(record["offset"]),
                line=int(record["line"]),
                reason=REASONS[reason],
                original=scanned.data[record["line_start"] : record["line_end"]].tobytes(),
                field=field,
                message=message,
                moved_to=moved_to,
            )
        )
    return letters
