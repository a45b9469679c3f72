"""A gateway over the embedded broker and Redis, and a feeder that makes alerts happen on demand."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import uvicorn
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from agents.clients import new_producer
from agents.embedded import Child, start_broker, start_redis
from agents.topics import apply
from config.settings import Settings
from gateway.app import create_app
from gateway.server import bind
from gateway.sources import Sources
from tests.gateway.feeder import Event, Position, ReadModelWriter, Story


class Stage:
    """Broker, Redis and what happens there. ``story``: made-up alerts; ``tell``: lets some of them happen."""

    def __init__(self) -> None:
        self.broker: Child = start_broker()
        self.redis: Child = start_redis()
        self.settings = Settings(
            broker_kind="embedded", bootstrap=f"127.0.0.1:{self.broker.port}",
            redis_url=f"redis://127.0.0.1:{self.redis.port}/0",
        )  # fmt: skip
        self.story = Story(7, self.send_record)
        self.told: list[Event] = []

    async def start(self) -> None:
        await asyncio.to_thread(apply, self.settings)
        self.producer = AIOKafkaProducer(bootstrap_servers=self.settings.bootstrap)
        await self.producer.start()
        self.reconnect()

    def reconnect(self) -> None:
        self.writer = ReadModelWriter(Redis.from_url(self.settings.redis_url))

    async def stop(self) -> None:
        await asyncio.wait({asyncio.create_task(self.producer.stop())}, timeout=3)
        self.broker.stop()
        self.redis.stop()

    async def send_record(self, record: Event) -> Position:
        value = json.dumps(record, ensure_ascii=False).encode()
        sent = await self.producer.send_and_wait("feeds", value, key=record["code"].encode())
        return {"partition": sent.partition, "offset": sent.offset, "line": 0}

    async def tell(self, count: int, *, worker: bool = True) -> list[Event]:
        """Lets the next alerts happen: records, events, read model."""
        happened = [await self.story.next() for _ in range(count)]
        for event in happened:
            await self.producer.send_and_wait("alerts", orjson.dumps(event), key=event["code"].encode())
            await self.writer.take(event)
        if worker:
            await self.writer.worker(1_250.0, len(self.told))
        self.told += happened
        return happened


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Sets up broker and Redis."""
    made = Stage()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def gateway(settings: Settings, port: int = 0) -> AsyncIterator[httpx.AsyncClient]:
    """Runs a gateway in this process, and gives a client of it once it is ready."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, Sources.of(settings, new_producer)), log_config=None, timeout_graceful_shutdown=1
        )
    )
    listening = bind("127.0.0.1", port)
    serving = asyncio.create_task(server.serve([listening]))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=address, timeout=20, trust_env=False) as client:
            for _ in range(100):
                await asyncio.sleep(0.1)
                if server.started and (await client.get("/readyz")).status_code == 200:
                    break
            yield client
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 15)
