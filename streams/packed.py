"""Reading and writing what a LISTING packs: times and offsets in 48 bits, prices in 40, in two fields each."""

from typing import Any

from numba import int64

from config.kernel import kernel


@kernel
def price_of(listing: Any) -> int:
    """Price per piece in 1/10,000 yuan of the listing's quote."""
    return int64(listing.price_lo) | (int64(listing.price_hi) << 32)


@kernel
def set_price(listing: Any, price_e4: int) -> None:
    """Stores a price of at most 40 bits (10⁸ yuan is 10¹²)."""
    listing.price_lo = price_e4 & 0xFFFFFFFF
    listing.price_hi = price_e4 >> 32


@kernel
def target_of(listing: Any) -> int:
    """Target price of the open adjustment."""
    return int64(listing.target_lo) | (int64(listing.target_hi) << 32)


@kernel
def set_target(listing: Any, price_e4: int) -> None:
    """Stores the target price of the open adjustment."""
    listing.target_lo = price_e4 & 0xFFFFFFFF
    listing.target_hi = price_e4 >> 32


@kernel
def at_of(listing: Any) -> int:
    """``at`` of the last accepted quote."""
    return int64(listing.at_lo) | (int64(listing.at_hi) << 32)


@kernel
def set_at(listing: Any, at_ms: int) -> None:
    """Stores ``at`` of the last accepted quote."""
    listing.at_lo = at_ms & 0xFFFFFFFF
    listing.at_hi = at_ms >> 32


@kernel
def valid_until_of(listing: Any) -> int:
    """End of the quote in force; FOREVER_MS: none."""
    return int64(listing.valid_lo) | (int64(listing.valid_hi) << 32)


@kernel
def set_valid_until(listing: Any, valid_until_ms: int) -> None:
    """Stores the end of the quote in force."""
    listing.valid_lo = valid_until_ms & 0xFFFFFFFF
    listing.valid_hi = valid_until_ms >> 32


@kernel
def offset_of(listing: Any) -> int:
    """Offset of the message that brought the quote in force (below 2⁴⁸)."""
    return int64(listing.offset_lo) | (int64(listing.offset_hi) << 32)


@kernel
def set_offset(listing: Any, offset: int) -> None:
    """Stores the offset of the message that brought the quote in force."""
    listing.offset_lo = offset & 0xFFFFFFFF
    listing.offset_hi = offset >> 32


@kernel
def due_of(listing: Any) -> int:
    """Deadline of the open adjustment."""
    return int64(listing.due_lo) | (int64(listing.due_hi) << 32)


@kernel
def set_due(listing: Any, due_ms: int) -> None:
    """Stores the deadline of the open adjustment."""
    listing.due_lo = due_ms & 0xFFFFFFFF
    listing.due_hi = due_ms >> 32
