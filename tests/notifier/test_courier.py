"""A courier over a hub and a receiver of our own making; time is real, waits are short."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from config.settings import Settings
from config.traces import tracer_of
from gateway.audience import Entry
from gateway.cursors import PRICE_LANES
from gateway.endpoints import Endpoint, Replay, Secret, new_secret
from gateway.event_traces import EventTraces
from gateway.filters import Filter
from gateway.hub import Hub
from notifier import courier as courier_module
from notifier import schedule
from notifier.courier import Courier, Surroundings
from notifier.journal import Journal
from notifier.log_source import LogSource
from notifier.progress import Progress
from notifier.schedule import Outcome
from tests.gateway.fakes import event
from tests.gateway.test_subscriber_stream import OURS, THEIRS

Answer = Callable[[str, int], Outcome | Awaitable[Outcome]]
GOOD = Outcome(200, None, 1)
BAD = Outcome(500, "status_500", 1)


class RingSource(LogSource):
    """Reads from the ring alone; ``values``: what can be read again."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.values: dict[tuple[int, int], bytes] = {}

    async def between(
        self, cursor: Mapping[int, int], until: Mapping[int, int], wanted: Filter
    ) -> AsyncIterator[Entry]:
        for entry in list(self.hub.entries_since(cursor)):
            if entry.offset < until.get(entry.partition, 0) and wanted.passes(
                entry.province, entry.kind, entry.bands, entry.code, entry.suppliers
            ):
                yield entry

    async def since(self, at_ms: int) -> dict[int, int]:
        return dict.fromkeys(self.hub.positions or {}, 0) if at_ms == 0 else dict(self.hub.positions or {})

    async def value(self, lane: int, offset: int) -> bytes | None:
        if (lane, offset) not in self.values:
            raise LookupError("gone")
        return self.values[lane, offset]


class Receiver:
    """Stands in for the sender: ``answer`` is asked with the event's id and how often it came before."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.got: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        event_id = orjson.loads(body)["id"]
        before = self.got.count(event_id)
        self.got.append(event_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.002)
        found = self.answer(event_id, before)
        outcome = await found if isinstance(found, Awaitable) else found
        self.at_once -= 1
        return outcome


class Scene:
    def __init__(self, answer: Answer) -> None:
        self.hub = Hub()
        self.hub.begin({0: 0, 1: 0, PRICE_LANES: 0}, {})
        self.source = RingSource(self.hub)
        self.receiver = Receiver(answer)
        self.journal = Journal(None)
        sender: Any = self.receiver
        self.around = Surroundings(self.source, sender, self.journal, lambda: 0.0)
        self.endpoint = Endpoint("ep_1", OURS, "https://x.example", "", (), (), (), (Secret(new_secret()),), True, 0, 0)

    def publish(self, number: int, *, code: int = 0, supplier: str = OURS, lane: int = 0) -> str:
        happened = event(number, code=f"C{code:026}") | {"supplier": supplier}
        value = orjson.dumps(happened)
        offset = (self.hub.positions or {})[lane]
        self.source.values[lane, offset] = value
        self.hub.publish(lane, offset, value)
        return str(happened["event_id"])

    @asynccontextmanager
    async def courier(self, progress: Progress | None = None) -> AsyncIterator[Courier]:
        made = Courier(self.endpoint, progress, self.around)
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, wanted: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < deadline, self.receiver.got
            await asyncio.sleep(0.01)


def play(work: Callable[[Scene], Awaitable[None]], answer: Answer = lambda *_: GOOD) -> None:
    async def run() -> None:
        await asyncio.wait_for(work(Scene(answer)), 30)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "DELAYS_S", (0, *[0.02] * 9))


def test_one_that_finishes_starts_nothing_and_what_is_under_way_counts() -> None:
    gate = asyncio.Event()

    async def later(_event_id: str, _before: int) -> Outcome:
        await gate.wait()
        return GOOD

    async def work(scene: Scene) -> None:
        async with scene.courier() as courier:
            scene.publish(1, code=1)
            await scene.until(lambda: scene.receiver.at_once == 1)
            under_way = courier.finish()
            scene.publish(2, code=2)
            await scene.until(lambda: len(courier.progress.outstanding) == 2)
            gate.set()
            await asyncio.wait(under_way, timeout=5)
            await asyncio.sleep(0.05)
            assert len(scene.receiver.got) == 1
            assert len(courier.progress.outstanding) == 1

    play(work, later)


def test_what_was_there_and_what_comes_is_sent_once_and_the_cursor_follows() -> None:
    async def work(scene: Scene) -> None:
        old = [scene.publish(number, code=number) for number in range(5)]
        scene.publish(90, supplier=THEIRS)
        async with scene.courier() as courier:
            await scene.until(lambda: len(scene.receiver.got) == 5)
            new = [scene.publish(number, code=number, lane=1) for number in range(5, 9)]
            scene.publish(91, supplier=THEIRS)
            await scene.until(
                lambda: courier.progress.cursor == scene.hub.positions and not courier.progress.outstanding
            )
            assert sorted(scene.receiver.got) == sorted(old + new)
            assert Progress.from_bytes(courier.progress.to_bytes()) == courier.progress

    play(work)


def test_attempts_to_send_an_event_that_is_followed_are_in_its_trace() -> None:
    exporter = InMemorySpanExporter()
    traced = [("ce_id", b"x"), ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]

    async def work(scene: Scene) -> None:
        settings = Settings(traces_ratio=0.0)
        with tracer_of(settings, "notifier", SimpleSpanProcessor(exporter)) as tracer:
            assert tracer is not None
            traces = EventTraces(tracer)
            scene.around = replace(scene.around, traces=traces)
            assert (traces.came(0, 0, traced), traces.came(0, 1, [("ce_id", b"y")])) == (True, False)
            async with scene.courier() as courier:
                sent = [scene.publish(number, code=number) for number in range(2)]
                await scene.until(lambda: len(scene.receiver.got) == 3 and not courier.progress.outstanding)
            assert set(sent) == set(scene.receiver.got)

    play(work, lambda event_id, before: BAD if event_id.endswith(":0/1") and not before else GOOD)
    spans = exporter.get_finished_spans()
    assert [(span.name, dict(span.attributes or {})["pricelink.attempt"], span.status.is_ok) for span in spans] == [
        ("POST webhook", 1, False), ("POST webhook", 2, True),
    ]  # fmt: skip
    assert {f"{span.context.trace_id:032x}" for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}


def test_order_within_a_code_is_kept_while_others_pass() -> None:
    async def work(scene: Scene) -> None:
        async with scene.courier():
            first = [scene.publish(number, code=1) for number in range(1, 6)]
            others = [scene.publish(number, code=2) for number in range(1, 6)]
            await scene.until(lambda: len(scene.receiver.got) == 12)
            got = list(dict.fromkeys(scene.receiver.got))
            assert [each for each in got if each in first] == first
            assert [each for each in got if each in others] == others
            assert scene.receiver.got.count(first[0]) == 3
            assert got.index(others[-1]) < len(got) - 1 or got.index(first[-1]) == len(got) - 1

    play(
        work,
        lambda event_id, before: (
            BAD if ":1/" in event_id and "C00000000000000000000000001" in event_id and before < 2 else GOOD
        ),
    )


def test_an_event_is_given_up_after_ten_attempts_and_the_next_goes() -> None:
    async def work(scene: Scene) -> None:
        async with scene.courier() as courier:
            first = scene.publish(1, code=1)
            second = scene.publish(2, code=1)
            await scene.until(lambda: second in scene.receiver.got)
            assert scene.receiver.got == [first] * 10 + [second]
            await scene.until(lambda: not courier.progress.outstanding)
            notes = [orjson.loads(note) for _, note in scene.journal._notes]
            assert [note["result"] for note in notes] == ["failed"] * 9 + ["given_up", "delivered"]

    play(work, lambda event_id, _: GOOD if ":2/" in event_id else BAD)


def test_an_event_that_fails_alone_keeps_to_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that another arrives the endpoint works again: the one that fails is tried once more for that, and not ten times."""
    monkeypatch.setattr(schedule, "DELAYS_S", (0, 0.3, *[3_600] * 8))

    async def work(scene: Scene) -> None:
        async with scene.courier() as courier:
            bad = scene.publish(1, code=1)

            async def others(first: int) -> None:
                for number in range(first, first + 20):
                    good = scene.publish(number, code=2)
                    await scene.until(partial(scene.receiver.got.__contains__, good))

            await scene.until(lambda: bad in scene.receiver.got)
            await others(100)
            await scene.until(lambda: courier.progress.outstanding[0].attempts == 2)
            await others(200)
            notes = [orjson.loads(note) for _, note in scene.journal._notes]
            tried = [(note["attempt"], note["extra"]) for note in notes if note["event_id"] == bad]
            assert tried == [(1, False), (1, True), (2, False), (2, True)]
            (delivery,) = courier.progress.outstanding
            assert delivery.due_ms > courier_module.now_ms() + 3_000_000
            assert Progress.from_bytes(courier.progress.to_bytes()) == courier.progress
            courier.change(replace(scene.endpoint, enabled_number=2))
            courier.progress.disabled = "gone"
            await scene.until(lambda: scene.receiver.got.count(bad) == 5)

    play(work, lambda event_id, _: BAD if "C00000000000000000000000001" in event_id else GOOD)


def test_a_failing_endpoint_gets_one_attempt_at_a_time_and_a_working_one_eight() -> None:
    async def work(scene: Scene) -> None:
        async with scene.courier():
            for number in range(40):
                scene.publish(number, code=number)
            await scene.until(lambda: len(set(scene.receiver.got)) == 40)
            assert scene.receiver.most_at_once == 8
            scene.receiver.answer = lambda *_: BAD
            scene.publish(100, code=100)
            await scene.until(lambda: len(scene.receiver.got) >= 42)
            scene.receiver.most_at_once = 0
            for number in range(200, 220):
                scene.publish(number, code=number)
            await scene.until(lambda: len(scene.receiver.got) > 60)
            assert scene.receiver.most_at_once == 1

    play(work)


def test_gone_disables_at_once_and_enabling_goes_on_without_loss() -> None:
    async def work(scene: Scene) -> None:
        async with scene.courier() as courier:
            first = scene.publish(1, code=1)
            await scene.until(lambda: courier.progress.disabled == "gone")
            second = scene.publish(2, code=2)
            await asyncio.sleep(0.2)
            assert scene.receiver.got == [first]
            scene.receiver.answer = lambda *_: GOOD
            courier.change(replace(scene.endpoint, enabled_number=2))
            await scene.until(lambda: set(scene.receiver.got[1:]) == {first, second})
            assert courier.progress.disabled is None

    play(work, lambda *_: Outcome(410, "status_410", 1))


def test_only_failures_for_120_hours_disable() -> None:
    async def work(scene: Scene) -> None:
        progress = Progress(
            cursor={0: 0}, since_number=1, failing_since_ms=courier_module.now_ms() - schedule.FAILING_MS
        )
        async with scene.courier(progress) as courier:
            scene.publish(1)
            await scene.until(lambda: courier.progress.disabled == "failed_for_120_hours")

    play(work, lambda *_: BAD)


def test_after_a_kill_nothing_is_lost_whenever_it_comes() -> None:
    """The state as of any moment, given to a new courier: every event arrives, in order within its code."""

    async def work(scene: Scene) -> None:
        states: list[bytes] = []
        async with scene.courier() as courier:
            for number in range(1, 31):
                scene.publish(number, code=number % 3, lane=number % 2)
                states.append(courier.progress.to_bytes())
                await asyncio.sleep(0.003)
        wanted = {orjson.loads(value)["event_id"] for value in scene.source.values.values()}
        for state in states[::5]:
            again = Scene(lambda *_: GOOD)
            again.hub, again.source.hub, again.source.values = scene.hub, scene.hub, scene.source.values
            before = Progress.from_bytes(state)
            async with again.courier(before) as courier:
                await again.until(
                    lambda: courier.progress.cursor == scene.hub.positions and not courier.progress.outstanding
                )
            done_before = set(scene.receiver.got)
            assert wanted <= done_before | set(again.receiver.got)
            for code in range(3):
                numbers = [
                    int(each.split(":")[-1].split("/")[0]) for each in again.receiver.got if f"C{code:026}" in each
                ]
                assert [each for each in numbers if each % 2] == sorted(each for each in numbers if each % 2)

    play(work, lambda event_id, before: BAD if before == 0 and hash(event_id) % 3 == 0 else GOOD)


def test_recover_sends_everything_since_again_and_replay_one_event() -> None:
    async def work(scene: Scene) -> None:
        sent = [scene.publish(number, code=number) for number in range(4)]
        async with scene.courier() as courier:
            await scene.until(lambda: len(scene.receiver.got) == 4)
            courier.change(replace(scene.endpoint, replays=(Replay(1, 0, 2, sent[2]),)))
            await scene.until(lambda: len(scene.receiver.got) == 5)
            assert scene.receiver.got[-1] == sent[2]
            courier.change(replace(courier.endpoint, since_number=2))
            await scene.until(lambda: len(scene.receiver.got) == 9)
            assert sorted(scene.receiver.got[5:]) == sorted(sent)
            await asyncio.sleep(0.2)
            assert len(scene.receiver.got) == 9

    play(work)


def test_what_waits_is_bounded_and_the_rest_stays_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "DELAYS_S", (0, *[60.0] * 9))
    monkeypatch.setattr(courier_module, "OUTSTANDING", 10)

    async def work(scene: Scene) -> None:
        async with scene.courier() as courier:
            for number in range(50):
                scene.publish(number, code=number)
            await scene.until(lambda: len(set(scene.receiver.got)) >= 10)
            await asyncio.sleep(0.2)
            assert len(courier.progress.outstanding) <= 11
            scene.receiver.answer = lambda *_: GOOD
            courier._enable()
            courier._changed.set()
            await scene.until(lambda: len(set(scene.receiver.got)) == 50)

    play(work, lambda *_: BAD)
