"""Which alerts a client wants to see: by province, kind and band."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from config.provinces import PROVINCE_CODES
from schemas.columns import BANDS, KINDS

OPEN_BANDS: Final = BANDS[1:]
"""The bands an open alert can have, mildest first."""


class FilterFault(ValueError):
    """A filter that names what does not exist."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Sets of province codes, kinds and bands; an empty set lets everything pass."""

    provinces: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    bands: frozenset[str] = frozenset()

    def passes(self, province: str | None, kind: str, bands: Iterable[str]) -> bool:
        """Tells whether an event passes. ``bands``: its band and its previous one, as far as it has them.

        Both count, so that whoever watches red also sees a red alert ease or end.
        """
        return (
            (not self.provinces or province in self.provinces)
            and (not self.kinds or kind in self.kinds)
            and (not self.bands or not self.bands.isdisjoint(bands))
        )


def parse_filter(province: Sequence[str], kind: Sequence[str], band: Sequence[str]) -> Filter:
    """Reads query parameters: each repeated, or a list with commas. Raises FilterFault."""
    return Filter(
        provinces=_words("province", province, PROVINCE_CODES),
        kinds=_words("kind", kind, KINDS),
        bands=_words("band", band, OPEN_BANDS),
    )


def _words(name: str, given: Sequence[str], known: Sequence[str]) -> frozenset[str]:
    words = frozenset(word for text in given for word in text.split(",") if word)
    unknown = sorted(words - set(known))
    if unknown:
        raise FilterFault(f"{name}={unknown[0][:40]} is not known; use one or more of {', '.join(known)}")
    return words
