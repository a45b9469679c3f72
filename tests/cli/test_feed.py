"""`pricelink feed`: lines checked, packed by partition, rejected with their numbers."""

import gzip
import io
import json
from pathlib import Path

import pytest

from agents.embedded import Embedded, EmbeddedUnavailable
from cli.feed import FeedFault, feed, read_lines
from config.settings import Settings

NOW_MS = 1_767_225_600_000
SUPPLIER = "91320000MA1N4XXXX1"


def quote(number: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": "320000", "code": f"C{number:026}", "at": NOW_MS, "price": 1}
    record |= {"supplier": SUPPLIER} | changes
    return json.dumps({key: value for key, value in record.items() if value is not None}).encode()


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
        values = [message.value.split(b"\n") for message in read_topic(Settings(bootstrap=embedded.bootstrap), "feeds")]
    assert sum(map(len, values)) == 1_500 + 700 + 1
    assert any(text.startswith("line 1501: not_json") for text in said)
    assert any(text.startswith("line 1502: bad_province: province") for text in said)
    assert any(text.startswith("line 3: bad_row: price: '面议'") for text in said)
    rejects = [json.loads(line) for line in (tmp_path / "rejects.ndjson").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [1501, 1502]
