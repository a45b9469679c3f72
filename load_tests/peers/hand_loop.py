"""The loop one writes by hand: confluent-kafka, orjson, a dict of products; nothing is kept but what is in memory.

A message at a time, as they come. A second process would need its share of the partitions and their state; here one
reads all partitions from their beginning, which is also what it does after a crash.
"""

import os

import confluent_kafka

from load_tests.peers.linkage import Product, parse, render


def main() -> None:
    """Runs until it is killed."""
    bootstrap, out = os.environ["PEER_BOOTSTRAP"], os.environ["PEER_OUT"]
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": os.environ["PEER_GROUP"],
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
            "queued.min.messages": 200_000,
        }
    )
    consumer.assign(
        [
            confluent_kafka.TopicPartition(os.environ["PEER_IN"], partition, confluent_kafka.OFFSET_BEGINNING)
            for partition in range(int(os.environ["PEER_PARTITIONS"]))
        ]
    )
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": os.environ["PEER_BROKER"] == "kafka",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    products: dict[str, Product] = {}
    while True:
        for message in consumer.consume(2_000, 0.01):
            if message.error():
                raise confluent_kafka.KafkaException(message.error())
            code, province, at, seq, price_e4 = parse(message.value())
            product = products.get(code)
            if product is None:
                product = products[code] = Product()
            for change in product.apply(province, at, seq, price_e4):
                producer.produce(out, render(code, at, change, product.lowest_e4), code)
        producer.poll(0)


if __name__ == "__main__":
    main()
