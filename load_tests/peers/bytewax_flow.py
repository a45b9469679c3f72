"""The task for Bytewax: its Kafka operators, ``stateful_flat_map`` by code. Run with ``python -m bytewax.run``."""

import os
from collections.abc import Iterable

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow

from load_tests.peers.linkage import Change, Product, parse, render

Told = tuple[int, Change, int]
"""When, what changed, the national lowest then."""


def keyed(message: KafkaSourceMessage) -> tuple[str, tuple[int, int, int, int]]:
    """Returns a quote by its code."""
    code, province, at, seq, price_e4 = parse(message.value)
    return code, (province, at, seq, price_e4)


def link(product: Product | None, quote: tuple[int, int, int, int]) -> tuple[Product, Iterable[Told]]:
    """Takes a quote; returns the product and what it changes."""
    if product is None:
        product = Product()
    return product, [(quote[1], change, product.lowest_e4) for change in product.apply(*quote)]


def event(told: tuple[str, Told]) -> KafkaSinkMessage:
    """Returns the message of a change."""
    code, (at, change, lowest_e4) = told
    return KafkaSinkMessage(code.encode(), render(code, at, change, lowest_e4))


flow = Dataflow("peers")
brokers = [os.environ["PEER_BOOTSTRAP"]]
feeds = kop.input(
    "feeds", flow, brokers=brokers, topics=[os.environ["PEER_IN"]], add_config={"fetch.wait.max.ms": "20"}
)
quotes = op.map("parse", feeds.oks, keyed)
changes = op.stateful_flat_map("link", quotes, link)
kop.output(
    "out",
    op.map("render", changes, event),
    brokers=brokers,
    topic=os.environ["PEER_OUT"],
    add_config={
        "acks": "all",
        "enable.idempotence": "true" if os.environ["PEER_BROKER"] == "kafka" else "false",
        "linger.ms": "5",
    },
)
