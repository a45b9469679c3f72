"""Dead letters as they are written: a message of ``feeds.dead-letter``, and a line of ``dead-letters.ndjson`` (SPEC §2, §9)."""

import orjson

from schemas.batches import DeadLetter

Header = tuple[str, bytes]


def headers_of(letter: DeadLetter) -> list[Header]:
    """Returns the headers of the message whose value is the line's original bytes.

    Always reason, partition, offset and line; field, message and moved_to where there are any.
    """
    headers = [
        ("reason", letter.reason.encode()),
        ("partition", b"%d" % letter.partition),
        ("offset", b"%d" % letter.offset),
        ("line", b"%d" % letter.line),
    ]
    named = (("field", letter.field), ("message", letter.message), ("moved_to", letter.moved_to))
    headers += [(name, text.encode(errors="backslashreplace")) for name, text in named if text is not None]
    return headers


def line_of(letter: DeadLetter) -> bytes:
    """Returns a dead letter as replay writes it, without a line feed."""
    shown: dict[str, int | str] = {
        "partition": letter.partition,
        "offset": letter.offset,
        "line": letter.line,
        "reason": letter.reason,
    }
    if letter.moved_to is not None:
        shown["moved_to"] = letter.moved_to
    return orjson.dumps(shown)
