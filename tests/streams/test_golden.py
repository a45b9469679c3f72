"""The golden logs: the very bytes that must come out (SPEC §9)."""

from pathlib import Path

import pytest

from tests.streams.logs import GOLDEN_LOGS, by_code, golden, replay


@pytest.mark.parametrize("folder", GOLDEN_LOGS, ids=lambda folder: folder.name)
def test_golden_log_gives_the_very_bytes(folder: Path) -> None:
    log = golden(folder)
    got = replay(log)
    assert by_code(got.alerts) == by_code(log.alerts)
    assert by_code(got.price_changes) == by_code(log.price_changes)
    assert got.dead_letters == log.dead_letters


def test_there_are_golden_logs() -> None:
    assert len(GOLDEN_LOGS) == 17
