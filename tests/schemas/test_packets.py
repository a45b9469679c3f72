"""Lines judged and packed as the exact parser and the slow way would."""

import json
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from config.provinces import PROVINCE_CODES, PROVINCE_INDEX
from schemas.codes import partition_of
from schemas.columns import FROM_FUTURE, POLICY, REASONS, TICK
from schemas.packets import MESSAGE_BYTES, MESSAGE_LINES, Checked, Sender, check_lines, types_mask
from schemas.parser import parse_line
from schemas.records import Reject

NOW_MS = 1_767_225_600_000
JIANGSU = PROVINCE_INDEX["320000"]
ALL = -1


def quote(number: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": "320000", "code": f"C{number:026}", "at": NOW_MS, "price": 1}
    record |= {"supplier": "91320000MA1N4XXXX1"} | changes
    return json.dumps(record).encode()


def check(lines: list[bytes], types: int = ALL, partitions: int = 4, first_line: int = 1) -> Checked:
    return check_lines(b"\n".join(lines), first_line, Sender(JIANGSU, types), NOW_MS, partitions)


def test_good_lines_keep_their_bytes_and_order_and_fit_the_bounds() -> None:
    lines = [
        quote(number % 37, seq=number, note="价" * (number % 300)) + b" \r" * (number % 2) for number in range(9_000)
    ]
    checked = check(lines)
    assert checked.accepted == 9_000
    assert not checked.rejected
    seen: dict[int, list[bytes]] = defaultdict(list)
    for packet in checked.packets:
        found = packet.value.split(b"\n")
        assert len(found) == packet.lines <= MESSAGE_LINES
        assert len(packet.value) <= MESSAGE_BYTES
        assert packet.key == json.loads(found[0])["code"].encode()
        seen[packet.partition] += found
    expected: dict[int, list[bytes]] = defaultdict(list)
    for line in lines:
        expected[partition_of(json.loads(line)["code"], 4)].append(line)
    assert seen == expected


def test_messages_of_long_lines_are_closed_by_their_bytes() -> None:
    lines = [quote(number, note="x" * 250, more="y" * 60_000) for number in range(40)]
    checked = check(lines, partitions=1)
    assert checked.accepted == 40
    assert len(checked.packets) == 10
    assert all(len(packet.value) <= MESSAGE_BYTES for packet in checked.packets)


def test_a_code_with_escapes_is_the_key_as_it_reads() -> None:
    escaped = quote(1).replace(b'"C0', b'"\\u00430')
    [packet] = check([quote(2, id="a" * 60), escaped], partitions=1).packets
    assert packet.key == b"C%026d" % 2
    [packet] = check([escaped], partitions=1).packets
    assert packet.key == b"C%026d" % 1


def test_what_a_sender_may_not_write_is_rejected_with_its_line() -> None:
    lines = [
        b"",
        quote(1),
        quote(1, province="110000"),
        b'{"type":"item","code":"C%026d","at":1}' % 1,
        quote(1, at=NOW_MS + 300_001),
        b"oops",
        b'{"type":"tick","at":1}',
    ]
    checked = check(lines, types_mask(1), first_line=10)
    assert checked.accepted == 1
    assert [(rejected.line, rejected.reason, rejected.field) for rejected in checked.rejected] == [
        (12, "other_province", "province"),
        (13, "type_not_allowed", "type"),
        (14, "from_future", "at"),
        (15, "not_json", None),
        (16, "type_not_allowed", "type"),
    ]
    assert checked.rejected[3].original == b"oops"


def test_records_without_a_code_go_to_every_partition() -> None:
    checked = check([b'{"type":"policy","at":1,"policy":{}}'])
    assert checked.accepted == 1
    assert [(packet.partition, packet.key) for packet in checked.packets] == [(number, None) for number in range(4)]


@given(
    st.lists(
        st.one_of(
            st.builds(
                quote,
                st.integers(0, 5),
                province=st.sampled_from([*PROVINCE_CODES[:12], "1", ""]),
                price=st.sampled_from([1, 0, "x", "1.50", None]),
                at=st.sampled_from([NOW_MS, NOW_MS + 10**7, "2026-01-01T00:00:00Z", -1]),
            ),
            st.binary(max_size=20).filter(lambda raw: b"\n" not in raw and raw.strip(b" \t\r")),
            st.sampled_from([b'{"type":"tick","at":1}', b"{}", b"[]", b'{"type":"item","code":"x","at":1}']),
        ),
        max_size=30,
    )
)
@settings(deadline=None, max_examples=100)
def test_each_line_is_judged_as_the_exact_parser_would(lines: list[bytes]) -> None:
    checked = check(lines, types_mask(1, POLICY), first_line=0)
    rejected = {each.line: each for each in checked.rejected}
    good = 0
    for number, line in enumerate(lines):
        record = parse_line(line)
        if isinstance(record, Reject):
            assert (rejected[number].reason, rejected[number].field) == (REASONS[record.reason], record.field)
        elif record.at_ms > NOW_MS + 300_000:
            assert rejected[number].reason == REASONS[FROM_FUTURE]
        elif record.type == TICK:
            assert rejected[number].reason == "type_not_allowed"
        elif record.province is not None and record.province != JIANGSU:
            assert rejected[number].reason == "other_province"
        else:
            assert number not in rejected
            good += 1
    assert checked.accepted == good
    assert sum(packet.lines for packet in checked.packets) == good
