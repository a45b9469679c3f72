"""``channel_gap``: a special drug's channel with an open order and no delivery for 30 days (SPEC §6)."""

from tests.streams.timeline import DAY, SECOND, Timeline


def special() -> Timeline:
    log = Timeline()
    log.item(special_drug=True, at=0)
    return log


def test_a_gap_opens_thirty_days_after_the_oldest_open_order() -> None:
    log = special()
    log.place(10, "a", at=0)
    log.place(10, "b", at=DAY)
    assert log.tick(30 * DAY - 1) == []
    assert log.tick(30 * DAY) == ["channel_gap opened 32 yellow"]
    assert "supplier" not in log.last
    assert len(log.last["evidence"]) == 1


def test_both_channels_are_red() -> None:
    log = special()
    log.place(10, "a", at=0)
    log.place(10, "b", at=DAY, channel="pharmacy")
    assert log.tick(31 * DAY) == ["channel_gap opened 32 yellow", "channel_gap escalated 32 red"]
    assert log.place(0, "b", channel="pharmacy") == ["channel_gap eased 32 yellow"]
    assert log.deliver(10, "a") == ["channel_gap resolved 32 -"]


def test_a_delivery_to_any_order_of_the_channel_puts_it_off() -> None:
    log = special()
    log.place(10, "a", at=0)
    log.place(10, "b", at=1)
    log.deliver(10, "b", at=10 * DAY)
    log.place(0, "b")
    assert log.tick(40 * DAY - 1) == []
    assert log.tick(40 * DAY) == ["channel_gap opened 32 yellow"]


def test_a_cancelled_delivery_counts_no_more() -> None:
    log = special()
    log.place(10, "a", at=0)
    log.deliver(1, "a", at=20 * DAY)
    log.tick(40 * DAY)
    assert log.deliver(0, "a") == ["channel_gap opened 32 yellow"]


def test_an_order_changes_its_channel() -> None:
    log = special()
    log.place(10, "a", at=0)
    log.place(10, "b", at=0)
    log.tick(30 * DAY)
    assert log.place(10, "a", channel="pharmacy") == ["channel_gap escalated 32 red"]
    assert log.place(10, "b", channel="pharmacy") == ["channel_gap eased 32 yellow"]


def test_orders_from_before_the_drug_was_special_count() -> None:
    log = Timeline()
    log.place(10, "a", at=0)
    log.order("37", 1, "b", at=0, channel="pharmacy")
    log.tick(40 * DAY)
    assert log.item(special_drug=True) == ["channel_gap opened 32 yellow", "channel_gap opened 37 yellow"]
    assert log.item() == ["channel_gap resolved 32 -", "channel_gap resolved 37 -"]
    log.deliver(10, "a", at=41 * DAY)
    assert log.item(special_drug=True, at=41 * DAY + SECOND) == ["channel_gap opened 37 yellow"]
