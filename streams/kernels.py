"""Reference prices and bands over plain arrays (SPEC §3): no domain objects, int64 money, each with a slow twin in tests.

Prices come as int64[32] in 1/10,000 yuan per piece, by province, 0 where there is none; quote kinds as int64[32];
``order`` is int64[32] whose first ``count`` entries are the provinces that have a price, cheapest first, ties by
province.
"""

from typing import Any

from config.kernel import kernel
from schemas.columns import BLUE, NO_BAND, RED, YELLOW
from streams.layout import LOWEST, MEAN_OF_LOWEST, Numbers


@kernel
def sort_provinces(prices: Numbers, order: Numbers) -> int:
    """Fills ``order``; returns how many provinces have a price."""
    count = 0
    for province in range(prices.size):
        price = prices[province]
        if price == 0:
            continue
        at = count
        while at > 0 and prices[order[at - 1]] > price:
            order[at] = order[at - 1]
            at -= 1
        order[at] = province
        count += 1
    return count


@kernel
def counts_for(province: int, own: int, kind: int, scope: int, everywhere: bool, kinds: int) -> bool:
    """Tells whether the price of ``province`` counts for the reference of ``own``."""
    return province != own and (kinds >> kind) & 1 == 1 and (everywhere or (scope >> province) & 1 == 1)


@kernel
def reference_price(
    prices: Numbers, kinds: Numbers, order: Numbers, count: int, own: int, rules: Any, used: Any
) -> int:
    """Reference of province ``own`` under its PROVINCE_RULES: the aggregate over the prices in scope; 0 for none.

    Writes to ``used`` (int64[33]) the provinces whose prices make it, cheapest first, their number in ``used[32]``.
    """
    used[32] = 0
    everywhere = rules.everywhere == 1
    sources = 0
    first = 0
    for i in range(count):
        province = order[i]
        if counts_for(province, own, kinds[province], rules.scope, everywhere, rules.kinds):
            used[sources] = province
            if sources == 0:
                first = prices[province]
            sources += 1
    if sources == 0 or sources < rules.min_sources:
        return 0
    if rules.aggregate == LOWEST:
        used[32] = 1
        return first
    if rules.aggregate == MEAN_OF_LOWEST:
        taken = min(sources, rules.k)
        total = 0
        for i in range(taken):
            total += prices[used[i]]
        used[32] = taken
        return (2 * total + taken) // (2 * taken)
    middle = (sources - 1) // 2
    used[0] = used[middle]
    used[32] = 1
    if sources % 2 == 1:
        return prices[used[0]]
    used[1] = used[middle + 1]
    used[32] = 2
    return (prices[used[0]] + prices[used[1]] + 1) // 2


@kernel
def band_of(price_e4: int, reference_e4: int, blue_bp: int, yellow_bp: int, red_bp: int) -> int:
    """The highest band whose threshold the excess reaches; NO_BAND if the price is not above the reference."""
    if price_e4 <= reference_e4:
        return NO_BAND
    excess_bp = (price_e4 - reference_e4) * 10_000 // reference_e4
    if excess_bp >= red_bp:
        return RED
    if excess_bp >= yellow_bp:
        return YELLOW
    if excess_bp >= blue_bp:
        return BLUE
    return NO_BAND


@kernel
def within_tenth(one_e4: int, other_e4: int) -> bool:
    """The higher is at most 1.1 × the lower (SPEC §5)."""
    if one_e4 > other_e4:
        return 10 * one_e4 <= 11 * other_e4
    return 10 * other_e4 <= 11 * one_e4


@kernel
def is_unit_mismatch(price_e4: int, lowest_e4: int) -> bool:
    """Some k from 2 to 1,000 has lowest and k × price differ by at most 2 % of the latter (SPEC §5)."""
    least = -((-50 * lowest_e4) // (51 * price_e4))
    most = (50 * lowest_e4) // (49 * price_e4)
    return max(least, 2) <= min(most, 1000)


@kernel
def is_newer(at_ms: int, seq: int, last_at_ms: int, last_seq: int) -> bool:
    """Last writer wins: (at, seq) is greater than that of the slot's last accepted record."""
    return at_ms > last_at_ms or (at_ms == last_at_ms and seq > last_seq)
