import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cursors import MAX_CURSOR_LENGTH, CursorFault, format_cursor, parse_cursor


@given(st.dictionaries(st.integers(0, 99_999), st.integers(0, 2**63 - 1), max_size=50))
def test_what_was_formatted_is_parsed_again(positions: dict[int, int]) -> None:
    assert parse_cursor(format_cursor(positions)) == positions


@pytest.mark.parametrize("text", ["x", "1", "1:", ":1", "1:2,", "1:2;3:4", "-1:2", "1:-2", "1:2 ", "1:٣", "1:2\n3:4"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CursorFault, match="0:17,1:5"):
        parse_cursor(text)


def test_a_cursor_has_a_bound() -> None:
    with pytest.raises(CursorFault, match="at most"):
        parse_cursor("1:1," * MAX_CURSOR_LENGTH)
