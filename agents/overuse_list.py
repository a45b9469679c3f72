"""The inspection list: who ordered much more of a category than before and than its peers (docs/scorecards.md).

Figures, not findings: a row says where a random re-inspection may look, and why.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agents.order_book import BEFORE_DAYS, RECENT_DAYS, WINDOW_DAYS, Sums
from schemas.score_rules import OveruseRules

DAYS_WAITING: Final = 40
"""Lists that may wait for partitions that are behind; reading one further ahead is held back before it comes to that."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def date_of(day: int) -> str:
    """Returns the date of a day's number, ``2026-01-31``."""
    return f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"


def added(sums: Iterable[Sums]) -> Sums:
    """Returns the sums of all partitions together."""
    total: dict[tuple[str, str, str], tuple[int, int]] = {}
    for each in sums:
        for pair, (recent, before) in each.items():
            was = total.get(pair, (0, 0))
            total[pair] = was[0] + recent, was[1] + before
    return total


def inspection_rows(day: int, sums: Sums, rules: OveruseRules) -> list[dict[str, Any]]:
    """Returns the list of a date, of what was ordered before it began: the largest excess first.

    ``own_bp``: the last 30 days against a third of the 90 days before; ``peers_bp``: against the median of what the
    other institutions of the province that order the category ordered in the last 30 days. Both are rounded down. A
    row is listed when both reach the rules' thresholds; its rank is by the smaller one. Without a past of its own, or
    without peers enough, there is nothing to compare with, and no row.
    """
    peers: dict[tuple[str, str], list[int]] = {}
    for (province, _, category), (recent, _) in sums.items():
        peers.setdefault((province, category), []).append(recent)
    found = []
    for (province, institution, category), (recent, before) in sums.items():
        others = list(peers[province, category])
        if recent < rules.min_quantity or before == 0 or len(others) - 1 < rules.min_peers:
            continue
        others.remove(recent)
        others.sort()
        twice_median = others[(len(others) - 1) // 2] + others[len(others) // 2]
        if twice_median == 0:
            continue
        own_bp = recent * 10_000 * BEFORE_DAYS // (before * RECENT_DAYS)
        peers_bp = recent * 20_000 // twice_median
        if own_bp >= rules.min_own_bp and peers_bp >= rules.min_peers_bp:
            figures = {
                "recent": recent,
                "before": before,
                "own_bp": own_bp,
                "peers": len(others),
                "peers_median": f"{twice_median // 2}.{twice_median % 2 * 5}",
                "peers_bp": peers_bp,
            }
            found.append((-min(own_bp, peers_bp), -recent, province, category, institution, figures))
    listed = sorted(found, key=lambda each: each[:5])[: rules.most_rows]
    date = date_of(day)
    return [
        {
            "inspection_id": f"inspection:{date}:{rank}",
            "date": date,
            "rank": rank,
            "of": len(listed),
            "purpose": "random_reinspection",
            "province": province,
            "institution": institution,
            "category": category,
            "recent_from": date_of(day - RECENT_DAYS),
            "before_from": date_of(day - WINDOW_DAYS),
            **figures,
        }
        for rank, (_, _, province, category, institution, figures) in enumerate(listed, 1)
    ]


class Lists:
    """Puts the partitions' sums of a date together; a list is made when all partitions have begun the date."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._waiting: dict[int, dict[int, Sums]] = {}

    def give(self, partition: int, day: int, sums: Sums) -> Sums | None:
        """Takes a partition's sums of a date; returns all together once the last one is there."""
        given = self._waiting.setdefault(day, {})
        given[partition] = sums
        if len(given) == self._partitions:
            return added(self._waiting.pop(day).values())
        while len(self._waiting) > DAYS_WAITING:
            del self._waiting[min(self._waiting)]
        return None


def unfinished(rows: Mapping[str, set[int]], totals: Mapping[str, int]) -> set[str]:
    """Returns the dates of which topic ``inspections`` has some rows, and not all."""
    return {date for date, ranks in rows.items() if len(ranks) < totals[date]}
