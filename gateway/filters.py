"""Which events a client may and wants to see: by supplier, kind, code, province and band."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from config.provinces import PROVINCE_CODES
from schemas.codes import is_code
from schemas.columns import BANDS, KINDS

OPEN_BANDS: Final = BANDS[1:]
"""The bands an open alert can have, mildest first."""
PRICE_CHANGED: Final = "price.lowest.changed"
"""The kind of an event of ``price-changes``."""
EVENT_KINDS: Final = (*KINDS, PRICE_CHANGED)
CODES_NAMED: Final = 500
"""Most codes that one filter names."""


class FilterFault(ValueError):
    """A filter that names what does not exist."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Sets of province codes, kinds, bands and product codes; an empty set lets everything pass.

    ``supplier``: whose events alone may pass; None: everybody's. ``prices``: changes of lowest prices pass, too.
    """

    provinces: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    bands: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    supplier: str | None = None
    prices: bool = False

    def passes(
        self,
        province: str | None,
        kind: str,
        bands: Iterable[str],
        code: str = "",
        suppliers: Collection[str] = (),
    ) -> bool:
        """Tells whether an event passes. ``bands``: its band and its previous one, as far as it has them.

        Both count, so that whoever watches red also sees a red alert ease or end. ``suppliers``: whose event it is.
        """
        return (
            (self.supplier is None or self.supplier in suppliers)
            and (self.prices or kind != PRICE_CHANGED)
            and (not self.codes or code in self.codes)
            and (not self.provinces or province in self.provinces)
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


def parse_event_filter(
    supplier: str | None, province: Sequence[str], kind: Sequence[str], band: Sequence[str], code: Sequence[str]
) -> Filter:
    """Reads the query parameters of a stream of events of every kind. Raises FilterFault."""
    codes = frozenset(word for text in code for word in text.split(",") if word)
    if len(codes) > CODES_NAMED:
        raise FilterFault(f"at most {CODES_NAMED} codes")
    if unfit := sorted(word for word in codes if not is_code(word)):
        raise FilterFault(f"code={unfit[0][:40]} is no national code")
    return Filter(
        provinces=_words("province", province, PROVINCE_CODES),
        kinds=_words("kind", kind, EVENT_KINDS),
        bands=_words("band", band, OPEN_BANDS),
        codes=codes,
        supplier=supplier,
        prices=True,
    )


def _words(name: str, given: Sequence[str], known: Sequence[str]) -> frozenset[str]:
    words = frozenset(word for text in given for word in text.split(",") if word)
    unknown = sorted(words - set(known))
    if unknown:
        raise FilterFault(f"{name}={unknown[0][:40]} is not known; use one or more of {', '.join(known)}")
    return words
