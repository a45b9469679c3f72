"""The task for Faust as its guide shows it: an agent over the stream, a table, a topic to send to."""

import os
import sys

import faust

from load_tests.peers.linkage import Product, parse, render

app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_BOOTSTRAP']}",
    store="memory://",
    datadir=os.environ["PEER_STATE"],
    topic_partitions=int(os.environ["PEER_PARTITIONS"]),
    topic_replication_factor=1,
    topic_disable_leader=True,
    web_enabled=False,
    table_standby_replicas=0,
    broker_session_timeout=6.0 if os.environ["PEER_BROKER"] == "kafka" else 2.0,
    broker_heartbeat_interval=1.0 if os.environ["PEER_BROKER"] == "kafka" else 0.4,
    consumer_auto_offset_reset="earliest",
)
feeds = app.topic(os.environ["PEER_IN"], key_serializer="raw", value_serializer="raw", value_type=bytes)
out = app.topic(os.environ["PEER_OUT"], key_serializer="raw", value_serializer="raw", value_type=bytes)
products = app.Table("products", partitions=int(os.environ["PEER_PARTITIONS"]), key_type=str)  # dicts, as JSON


@app.agent(feeds)
async def link(stream: faust.StreamT[bytes]) -> None:
    """Keeps the products and tells what changes."""
    async for value in stream:
        code, province, at, seq, price_e4 = parse(value)
        product = Product.of(products.get(code))
        changes = product.apply(province, at, seq, price_e4)
        products[code] = product.fields()  # into the changelog, too
        for change in changes:
            await out.send(key=code.encode(), value=render(code, at, change, product.lowest_e4))


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel", "warn"]
    app.main()
