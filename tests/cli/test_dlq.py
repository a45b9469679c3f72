"""Dead letters listed, shown and sent again; a release imported; a migration checked: all against a real topic."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.clients import new_producer
from agents.embedded import Embedded, EmbeddedUnavailable
from agents.sinks import KafkaWriter
from agents.state_topic import KafkaStateStore
from agents.topics import apply
from cli.dlq import Letter
from cli.kafka_log import read_topic
from cli.log_file import Message
from cli.main import app
from config.settings import Settings
from schemas.codes import partition_of
from streams.machine import Machine
from tests.streams.logs import policy_of

SUPPLIER = "91320000MA1N4XXXX1"
NOW_MS = 1_767_225_600_000
runner = CliRunner()


def quote(number: int, **changes: object) -> bytes:
    record = {"type": "quote", "province": "320000", "code": f"C{number:026}", "at": NOW_MS, "price": 1}
    return json.dumps(record | {"supplier": SUPPLIER} | changes).encode()


@pytest.fixture
def settings() -> Iterator[Settings]:
    try:
        embedded = Embedded(redis=False).start()
    except EmbeddedUnavailable as error:
        pytest.skip(str(error))
    with embedded:
        made = Settings(broker_kind="embedded", bootstrap=embedded.bootstrap)
        apply(made)
        yield made


def run(settings: Settings, *arguments: str, code: int = 0) -> str:
    embedded = [] if arguments[:2] in (("dlq", "list"), ("dlq", "show")) else ["--embedded"]
    done = runner.invoke(app, [*arguments, "--kafka", settings.bootstrap, *embedded])
    assert done.exit_code == code, done.output
    return done.output


def put(settings: Settings, letters: list[tuple[bytes, dict[str, str]]]) -> None:
    async def send() -> None:
        producer = new_producer(settings)
        await producer.start()
        for value, headers in letters:
            raw = [(name, text.encode()) for name, text in headers.items()]
            await producer.send_and_wait("feeds.dead-letter", value, partition=0, headers=raw)
        await producer.stop()

    asyncio.run(send())


def lines(settings: Settings) -> list[bytes]:
    return [line for message in read_topic(settings, "feeds") for line in message.value.split(b"\n")]


@pytest.mark.integration
def test_dead_letters_are_listed_shown_and_sent_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.dlq.PORTION_BYTES", 1)  # each letter by itself, read on after the one before was sent
    put(
        settings,
        [
            (quote(1), {"reason": "from_future", "field": "at", "partition": "2", "offset": "7", "line": "3"}),
            (
                b"oops \xff\x1b[31m",
                {"reason": "not_json", "source": "gateway:records", "province": "330000", "line": "9"},
            ),
            (quote(2, province="110000"), {"reason": "other_province", "source": "gateway:records", "line": "1"}),
        ],
    )
    shown = run(settings, "dlq", "list")
    assert all(word in shown for word in ("0:0", "from_future", "feeds 2:7", "not_json 1", "gateway:records"))
    assert "\x1b" not in shown
    assert "from_future" not in run(settings, "dlq", "list", "--province", "330000")
    assert "province: 330000" in run(settings, "dlq", "show", "0:1")
    run(settings, "dlq", "show", "0:99", code=2)
    run(settings, "dlq", "replay", code=2)
    assert "1 of 2 lines would be sent" in run(settings, "dlq", "replay", "--all", "--dry-run")
    assert lines(settings) == []
    run(settings, "dlq", "replay", "--all")
    assert lines(settings) == [quote(1)]
    run(settings, "dlq", "replay", "--reason", "other_province")
    assert set(lines(settings)) == {quote(1), quote(2, province="110000")}
    run(settings, "dlq", "replay", "0:1", code=1)


@pytest.mark.integration
def test_a_release_is_imported_and_a_migration_checked(settings: Settings, tmp_path: Path) -> None:
    release = tmp_path / "release.csv"
    one, two, three = (f"C{number:026}" for number in (1, 2, 3))
    release.write_text(
        "原27位码,原码状态,27位码,类型,注册备案号,单件产品名称\n"
        f"{one},停用,{two},变更,国械注准20173770123,支架\n,,{three},新增,,导管\n,,C3,新增,,短\n,,,,,\n",
        "gb18030",
    )
    said = run(settings, "items", "import", str(release), "--released", "2026-03-20")
    assert "3 records accepted" in said
    assert "bad_code" in said
    run(settings, "items", "import", str(release), "--released", "20.3.2026", code=2)
    items = {(item["code"], item.get("moved_to")) for item in map(json.loads, lines(settings))}
    assert items == {(one, two), (two, None), (three, None)}

    apply_log(settings, [quote(3, price=5, at=1_774_000_000_000), quote(4), quote(5)])
    old, mapping, out = tmp_path / "old.csv", tmp_path / "old.toml", tmp_path / "found.csv"
    old.write_text(f"编码,价格\n{one},9\n{three},5\n{'C' + '0' * 25 + '4'},2\n", "utf-8")
    mapping.write_text(f'[columns]\ncode = "编码"\nprice = "价格"\n[constants]\nsupplier = "{SUPPLIER}"\n')
    said = run(settings, "migration", "check", str(old), "--mapping", str(mapping), "--province", "320000",
               "--out", str(out), code=1)  # fmt: skip
    found = out.read_text("utf-8-sig")
    assert all(word in found for word in (f"moved,9.0000,,{two}", "different_price,2.0000,1.0000", "extra"))
    assert "same" not in found
    assert "same                        1" in said


def apply_log(settings: Settings, quotes: list[bytes]) -> None:
    """Does what workers would: applies feeds and more quotes, and writes the rows of state."""
    from cli.log_file import batch_of

    async def write(machines: list[Machine]) -> None:
        producer = new_producer(settings)
        await producer.start()
        store = KafkaStateStore(KafkaWriter(producer, settings, lambda: NOW_MS), settings)
        for machine in machines:
            await store.write(machine.partition, machine.checkpoint(10**6))
        await producer.stop()

    values: dict[int, list[bytes]] = {number: [] for number in range(4)}
    for line in [*lines(settings), *quotes]:
        values[partition_of(json.loads(line)["code"], 4)].append(line)
    machines = [Machine(number, 4, policy_of({})) for number in range(4)]
    for machine in machines:
        messages = [
            Message(machine.partition, at, 1_800_000_000_000, value)
            for at, value in enumerate(values[machine.partition])
        ]
        if messages:
            machine.apply(batch_of(messages))
    asyncio.run(write(machines))


@pytest.mark.parametrize("value", [b"[]", b'{"province":3}', b"\xff", b""])
def test_letters_without_headers_are_letters(value: bytes) -> None:
    letter = Letter.of(Message(0, 1, 2, value))
    assert (letter.place, letter.reason, letter.province) == ("0:1", "?", "")
    assert letter.origin == "feeds ?:?, line ?"
