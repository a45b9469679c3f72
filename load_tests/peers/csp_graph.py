"""The task for csp: its own Kafka adapter in and out, bursts of raw messages into one node, structs out of it.

``at`` is a number in one record and a text in the next, which csp's JSON mapper does not map: so the node gets bytes
and parses them with orjson.
"""

import os
from datetime import UTC, datetime, timedelta

import csp
from csp import ts
from csp.adapters.kafka import JSONTextMessageMapper, KafkaAdapterManager, KafkaStartOffset, RawBytesMessageMapper

from load_tests.peers.linkage import Product, event_of, parse


class Event(csp.Struct):
    """An event of the task; fields that are not set are not written."""

    code: str
    province: str
    band: str
    price_e4: int
    lowest_e4: int
    at: int


@csp.node
def link(burst: ts[list[bytes]]) -> ts[list[Event]]:
    """Keeps the products and tells what changes."""
    with csp.state():
        s_products: dict[str, Product] = {}
    if csp.ticked(burst):
        events: list[Event] = []
        for value in burst:
            code, province, at, seq, price_e4 = parse(value)
            product = s_products.get(code)
            if product is None:
                product = s_products[code] = Product()
            changes = product.apply(province, at, seq, price_e4)
            events.extend(Event(**event_of(code, at, change, product.lowest_e4)) for change in changes)
        if events:
            csp.output(events)


@csp.graph
def graph() -> None:
    """Feeds to events."""
    kafka = KafkaAdapterManager(
        broker=os.environ["PEER_BOOTSTRAP"],
        start_offset=KafkaStartOffset.EARLIEST,
        poll_timeout=timedelta(milliseconds=10),
        rd_kafka_consumer_conf_options={"fetch.wait.max.ms": "20", "queued.min.messages": "200000"},
        rd_kafka_producer_conf_options={
            "acks": "all",
            "enable.idempotence": "true" if os.environ["PEER_BROKER"] == "kafka" else "false",
            "linger.ms": "5",
        },
    )
    feeds = kafka.subscribe(bytes, RawBytesMessageMapper(), os.environ["PEER_IN"], push_mode=csp.PushMode.BURST)
    kafka.publish(JSONTextMessageMapper(), os.environ["PEER_OUT"], "code", csp.unroll(link(feeds)))


if __name__ == "__main__":
    csp.run(graph, starttime=datetime.now(UTC).replace(tzinfo=None), endtime=timedelta(days=1), realtime=True)
