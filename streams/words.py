"""Words as bytes for kernels: each table is uint8[n, longest + 1] with the length of a word in its last column."""

from typing import Final

import numpy as np
import numpy.typing as npt

from config.provinces import PROVINCE_CODES
from schemas.columns import BANDS, CHANGES, KINDS
from streams.layout import ALERT_REASONS, RULE_WORDS


def word_table(words: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Returns the table of some words."""
    raw = [word.encode() for word in words]
    table = np.zeros((len(raw), max(map(len, raw)) + 1), np.uint8)
    for row, word in zip(table, raw, strict=True):
        row[: len(word)] = np.frombuffer(word, np.uint8)
        row[-1] = len(word)
    return table


PROVINCE_DIGITS: Final = word_table(PROVINCE_CODES)
KIND_WORDS: Final = word_table(KINDS)
CHANGE_WORDS: Final = word_table(CHANGES)
REASON_WORDS: Final = word_table(ALERT_REASONS)
BAND_WORDS: Final = word_table(BANDS)
RULES_WORDS: Final = word_table(RULE_WORDS)


def literal(text: str) -> npt.NDArray[np.uint8]:
    """Returns a text's bytes as an array that kernels take as a constant."""
    return np.frombuffer(text.encode(), np.uint8)
