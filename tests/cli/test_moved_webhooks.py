"""A webhook that was through is through in the moved log; one that was not begins anew."""

import orjson

from cli.backup_files import Record
from cli.moved_webhooks import lanes_of, move_progress
from config.topics import ALERTS, PRICE_CHANGES
from gateway.cursors import PRICE_LANES
from notifier.progress import Delivery, Progress

OLD = {ALERTS.name: {0: 5, 1: 0}, PRICE_CHANGES.name: {0: 3, 1: 4}}
NEW = {ALERTS.name: {0: 2, 1: 0, 2: 3, 3: 0}, PRICE_CHANGES.name: {0: 1, 1: 2, 2: 2, 3: 2}}
AT_END = {0: 5, PRICE_LANES: 3, PRICE_LANES + 1: 4}


def message(key: bytes, progress: Progress | None) -> Record:
    return Record(0, 0, 17, key, None if progress is None else progress.to_bytes())


def test_who_was_through_is_at_the_end_of_the_new_log() -> None:
    behind = Progress(cursor=AT_END | {0: 4})
    waiting = Progress(cursor=dict(AT_END), outstanding=[Delivery(0, 1, "e", "C", 9)])
    through = Progress(cursor=dict(AT_END), since_number=3, replay_number=2, disabled="gone", disabled_number=1)
    records = [
        message(b"through", behind), message(b"through", through), message(b"behind", behind), message(b"waiting", waiting),
        message(b"deleted", through), message(b"deleted", None), Record(0, 0, 17, b"broken", b"{"),
    ]  # fmt: skip
    moved, late = move_progress(records, OLD, NEW)
    assert late == ["behind", "waiting", "broken"]
    assert [(each.key, each.broker_ts_ms) for each in moved] == [(b"through", 17)]
    assert orjson.loads(moved[0].value or b"") == orjson.loads(through.to_bytes()) | {
        "cursor": "0:2,1:0,2:3,3:0,p0:1,p1:2,p2:2,p3:2"
    }
    assert lanes_of({}) == {}
