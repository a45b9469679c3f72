"""Settings: from the environment, frozen, and right for the kind of broker."""

import pytest
from pydantic import ValidationError

from agents.clock import tick_value
from config.settings import Settings
from config.topics import FEEDS, STATE, TOPICS


def test_they_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICELINK_BROKER_KIND", "embedded")
    monkeypatch.setenv("PRICELINK_PARTITIONS", "8")
    settings = Settings()
    assert settings.embedded
    assert settings.partitions == 8


def test_nobody_changes_them_afterwards() -> None:
    with pytest.raises(ValidationError):
        Settings().partitions = 8  # type: ignore[misc]


def test_the_embedded_broker_has_quick_sessions_and_no_idempotence() -> None:
    settings = Settings(broker_kind="embedded")
    assert (settings.session_s, settings.heartbeat_s, settings.idempotent) == (2.0, 0.4, False)
    assert settings.compression_type is None


def test_kafka_has_sessions_it_does_not_refuse_and_idempotence() -> None:
    settings = Settings(broker_kind="kafka")
    assert (settings.session_s, settings.heartbeat_s) == (6.0, 1.0)
    assert settings.idempotent
    assert settings.compression_type == "lz4"


def test_a_static_member_has_the_time_of_a_restart_and_hears_of_rebalances_as_soon() -> None:
    settings = Settings(broker_kind="kafka", static_member=True)
    assert (settings.session_s, settings.heartbeat_s) == (12.0, 1.0)


def test_a_child_process_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(broker_kind="embedded", bootstrap="127.0.0.1:1234", checkpoint_s=0.5)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    child = Settings()
    assert (child.broker_kind, child.bootstrap, child.checkpoint_s) == ("embedded", "127.0.0.1:1234", 0.5)


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(Settings(sasl_password="hush"))


def test_topics_say_what_they_need() -> None:
    assert FEEDS.config["message.timestamp.type"] == "LogAppendTime"
    assert STATE.config["cleanup.policy"] == "compact"
    assert int(STATE.config["min.compaction.lag.ms"]) >= 60_000
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_a_tick_carries_only_its_time() -> None:
    assert tick_value(1_767_225_600_000) == b'{"type":"tick","at":1767225600000}'
