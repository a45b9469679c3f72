"""Dead letters as bytes (SPEC §2, §9)."""

from schemas.batches import DeadLetter
from schemas.dead_letters import headers_of, line_of


def test_line() -> None:
    letter = DeadLetter(0, 11, 0, "disabled_code", b"{}", "code", "disabled", "C01010100101001047440000001")
    assert (
        line_of(letter)
        == b'{"partition":0,"offset":11,"line":0,"reason":"disabled_code","moved_to":"C01010100101001047440000001"}'
    )
    assert (
        line_of(DeadLetter(3, 2**40, 7, "not_json", b"\xff"))
        == b'{"partition":3,"offset":1099511627776,"line":7,"reason":"not_json"}'
    )


def test_headers() -> None:
    assert headers_of(DeadLetter(3, 5, 7, "not_json", b"\xff")) == [
        ("reason", b"not_json"), ("partition", b"3"), ("offset", b"5"), ("line", b"7"),
    ]  # fmt: skip
    letter = DeadLetter(3, 5, 7, "disabled_code", b"{}", "code", "moved", "X")
    assert headers_of(letter)[4:] == [("field", b"code"), ("message", b"moved"), ("moved_to", b"X")]
