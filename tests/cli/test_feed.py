"""`pricelink feed`: lines checked, packed by partition, rejected with their numbers."""

import gzip
import io
import json
from pathlib import Path

import pytest

from agents.embedded import Embedded, EmbeddedUnavailable
from cli.feed import MESSAGE_BYTES, MESSAGE_LINES, FeedFault, Packer, check, feed, read_lines
from config.settings import Settings
from schemas.codes import partition_of

NOW_MS = 1_767_225_600_000
SUPPLIER = "91320000MA1N4XXXX1"


def quote(number: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": "320000", "code": f"C{number:026}", "at": NOW_MS, "price": 1}
    record |= {"supplier": SUPPLIER} | changes
    return json.dumps({key: value for key, value in record.items() if value is not None}).encode()


def test_lines_go_to_their_partition_in_order_and_messages_are_closed_in_time() -> None:
    packer = Packer(4)
    sent = [
        message
        for number in range(9_000)
        for message in packer.add(quote(number % 50, seq=number), f"C{number % 50:026}")
    ]
    sent += packer.rest()
    assert packer.rest() == []
    lines = 0
    last: dict[str, int] = {}
    for partition, key, value in sent:
        records = [json.loads(line) for line in value.split(b"\n")]
        assert len(records) <= MESSAGE_LINES
        assert key is not None
        assert key.decode() == records[0]["code"]
        for record in records:
            assert partition_of(record["code"], 4) == partition
            assert record["seq"] > last.get(record["code"], -1)
            last[record["code"]] = record["seq"]
        lines += len(records)
    assert lines == 9_000


def test_messages_stay_below_their_bound_of_bytes() -> None:
    packer = Packer(1)
    sent = [message for number in range(30) for message in packer.add(b"x" * 60_000, f"C{number:026}")]
    assert sent
    assert all(len(value) <= MESSAGE_BYTES for _, _, value in [*sent, *packer.rest()])


def test_records_without_a_code_go_to_every_partition() -> None:
    packer = Packer(3)
    code, fault = check(b'{"type":"tick","at":0}', NOW_MS)
    assert fault is None
    packer.add(b'{"type":"tick","at":0}', code)
    assert [(partition, key) for partition, key, _ in packer.rest()] == [(0, None), (1, None), (2, None)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not JSON", "not_json"),
        (quote(1, code="C1"), "bad_code"),
        (quote(1, price=0), "bad_money"),
        (quote(1, at=NOW_MS + 300_001), "from_future"),
    ],
)
def test_bad_lines_have_reasons(line: bytes, reason: str) -> None:
    _, fault = check(line, NOW_MS)
    assert fault is not None
    assert fault.reason == reason
    assert json.loads(fault.as_json())["reason"] == reason
    assert reason in fault.text()


def test_ndjson_lines_are_numbered_over_blank_ones() -> None:
    file = io.BytesIO(b"\n" + quote(1) + b"\r\n \t\n" + quote(2))
    assert [(number, line is not None) for number, line, _ in read_lines(file, None, None, "x", NOW_MS)] == [
        (2, True),
        (4, True),
    ]


def test_price_lists_need_a_mapping_and_files_must_be_there(tmp_path: Path) -> None:
    settings = Settings()
    with pytest.raises(FeedFault, match="--mapping"):
        feed(settings, tmp_path / "list.csv.gz")
    with pytest.raises(FeedFault, match="none"):
        feed(settings, tmp_path / "none.ndjson")
    (tmp_path / "list.csv").write_text("a,b\n")
    with pytest.raises(FeedFault, match="cannot read the mapping"):
        feed(settings, tmp_path / "list.csv", tmp_path / "none.toml")


@pytest.mark.integration
def test_files_reach_the_topic(tmp_path: Path) -> None:
    from agents.topics import apply
    from cli.kafka_log import read_topic

    plain, packed, listed = tmp_path / "a.ndjson", tmp_path / "b.ndjson.gz", tmp_path / "c.csv"
    plain.write_bytes(b"\n".join([*(quote(number) for number in range(1_500)), b"oops", quote(3, province="1")]))
    packed.write_bytes(gzip.compress(b"\n".join(quote(number, seq=1) for number in range(700))))
    listed.write_text(f"编码,价格,企业\nC{'2' * 26},1.5万元,{SUPPLIER}\nC{'3' * 26},面议,{SUPPLIER}\n", "gb18030")
    mapping = tmp_path / "m.toml"
    mapping.write_text('[columns]\ncode = "编码"\nprice = "价格"\nsupplier = "企业"\n')
    said: list[str] = []
    try:
        embedded = Embedded(redis=False).start()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with embedded:
        settings = Settings(broker_kind="embedded", bootstrap=embedded.bootstrap)
        apply(settings)
        assert feed(settings, plain, rejects=tmp_path / "rejects.ndjson", say=said.append) == 0
        assert feed(settings, packed, say=said.append) == 0
        assert feed(settings, listed, mapping, "320000", say=said.append) == 0
        (tmp_path / "bad.ndjson").write_bytes(b"oops\n")
        assert feed(settings, tmp_path / "bad.ndjson", say=said.append) == 1
        values = [message.value.split(b"\n") for message in read_topic(embedded.bootstrap, "feeds")]
    assert sum(map(len, values)) == 1_500 + 700 + 1
    assert any(text.startswith("line 1501: not_json") for text in said)
    assert any(text.startswith("line 1502: bad_province: province") for text in said)
    assert any(text.startswith("line 3: bad_row: price: '面议'") for text in said)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.ndjson").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [1501, 1502]
