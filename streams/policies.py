"""A policy as rows that kernels read (SPEC §3 Policy)."""

from typing import Any

import numpy as np

from schemas.policy import Policy, ProvincePolicy
from streams.layout import (
    AGGREGATES,
    DAY_MS,
    HOUR_MS,
    LOWEST,
    PROVINCE_COUNT,
    PROVINCE_RULES,
    RULES,
)
from streams.state import State

EVERYWHERE = (1 << PROVINCE_COUNT) - 1


def bits(indexes: Any) -> int:
    """Returns a number with these bits set."""
    mask = 0
    for index in indexes:
        mask |= 1 << index
    return mask


def fill_province(row: Any, rules: ProvincePolicy, prefix_start: int) -> None:
    """Fills one PROVINCE_RULES row; its prefixes start at ``prefix_start`` of the policy's."""
    row.everywhere = rules.scope is None
    row.scope = EVERYWHERE if rules.scope is None else bits(rules.scope)
    row.kinds = bits(rules.kinds)
    row.own_kinds = bits(rules.own_kinds)
    row.aggregate = AGGREGATES.index(rules.aggregate)
    row.k = rules.k
    row.rolling = rules.lookback == "rolling"
    row.min_sources = rules.min_sources
    row.blue_bp, row.yellow_bp, row.red_bp = rules.blue_bp, rules.yellow_bp, rules.red_bp
    row.adjust_ms = rules.adjust_within_days * DAY_MS
    row.high_value_only = rules.high_value_only
    row.prefix_start = prefix_start
    row.prefix_end = prefix_start + len(rules.exclude_prefixes)


def with_policy(s: State, policy: Policy) -> State:
    """Returns the state under a policy; what held before it is in ``was_rules`` and ``was_provinces``."""
    rules = np.zeros(1, RULES).view(np.recarray)
    provinces = np.zeros(PROVINCE_COUNT, PROVINCE_RULES).view(np.recarray)
    prefixes: list[str] = []
    for row, province in zip(provinces, policy.provinces, strict=True):
        fill_province(row, province, len(prefixes))
        prefixes.extend(province.exclude_prefixes)
    table = np.zeros((max(len(prefixes), 1), 28), np.uint8)
    for line, prefix in zip(table, prefixes, strict=False):
        line[: len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
        line[27] = len(prefix)
    rules[0].window_ms = policy.window_days * DAY_MS
    rules[0].guard_bp = policy.guard_bp
    rules[0].guard_min_sources = policy.guard_min_sources
    rules[0].rolling = int(provinces["rolling"].any())
    rules[0].kinds = np.bincount(provinces["kinds"]).argmax()
    rules[0].most_sources = max(int(provinces["min_sources"].max()), 1)
    rules[0].uniform = int(
        (provinces["kinds"] == rules[0].kinds).all()
        and (provinces["everywhere"] == 1).all()
        and (provinces["aggregate"] == LOWEST).all()
        and not provinces["rolling"].any()
    )
    supply = policy.supply
    rules[0].supply_window_ms = supply.window_days * DAY_MS
    rules[0].fill_yellow_bp = supply.fill_yellow_bp
    rules[0].fill_red_bp = supply.fill_red_bp
    rules[0].late_yellow_ms = supply.late_yellow_hours * HOUR_MS
    rules[0].late_red_ms = supply.late_red_hours * HOUR_MS
    return s.replace(rules=rules, provinces=provinces, prefixes=table, was_rules=s.rules, was_provinces=s.provinces)
