"""Dashboard *Delivery*: whether alerts reach those who wait for them."""

from typing import Final

from ops.grafana.panels import AMBER, GREEN, RED, Board, Panel, Query

DELIVERY: Final = Board(
    "pricelink-delivery",
    "pricelink: Delivery",
    "Webhooks, live streams, the read model.",
    (),
    (
        (
            "Webhooks",
            (
                Panel(
                    "Webhooks a minute, by outcome",
                    "no_connection and timed_out are the receivers' networks. address_refused: an owner gave a private address. All outcomes bad at once: our own network.",
                    "short",
                    (Query("sum by (outcome) (rate(pricelink_webhook_attempts_total[5m])) * 60", "{{outcome}}"),),
                    draw="stacked",
                ),
                Panel(
                    "Webhooks a minute, by attempt",
                    "Mostly first attempts is healthy. Many of number 3 and above: receivers are away; they get everything when they are back.",
                    "short",
                    (Query("sum by (attempt) (rate(pricelink_webhook_attempts_total[5m])) * 60", "{{attempt}}"),),
                    draw="stacked",
                ),
                Panel(
                    "Endpoints, by state",
                    "failing: tried again up to days. disabled: it failed for 120 hours or answered 410; its owner must enable it again.",
                    "short",
                    (Query("max by (state) (pricelink_webhook_endpoints)", "{{state}}"),),
                    draw="stacked",
                ),
                Panel(
                    "Age of the oldest undelivered event",
                    "us: never tried although its endpoint works. Above a minute the notifier is too slow: NotifierBacklog. anybody: its receiver may be away for days.",
                    "s",
                    (Query("max by (waits_for) (pricelink_webhook_oldest_seconds)", "{{waits_for}}"),),
                    thresholds=((0, GREEN), (60, AMBER), (3_600, RED)),
                    width=12,
                ),
                Panel(
                    "Events that wait",
                    "outstanding: read and not delivered. unread: of the endpoint furthest behind. Unread that rises: NotifierBacklog.",
                    "short",
                    (
                        Query("max(pricelink_webhook_outstanding)", "outstanding"),
                        Query("max(pricelink_webhook_unread_events)", "unread"),
                    ),
                    width=12,
                ),
            ),
        ),
        (
            "Live streams",
            (
                Panel(
                    "Live streams open",
                    "A gateway takes 2,000. Near that: start another gateway. None although people look at the page: see the proxy's timeouts.",
                    "short",
                    (Query("sum by (of) (pricelink_sse_clients)", "{{of}}"),),
                    draw="stacked",
                    thresholds=((0, GREEN), (1_500, AMBER), (1_900, RED)),
                ),
                Panel(
                    "Streams cut in ten minutes",
                    "Clients that did not keep up; they resume without loss. Many: their network, or a storm of alerts; see Market, New.",
                    "short",
                    (Query("sum(increase(pricelink_sse_cuts_total[10m]))", "cut"),),
                    thresholds=((0, GREEN), (10, AMBER), (100, RED)),
                ),
                Panel(
                    "Alert events a second",
                    "What each gateway hands to its streams. Zero while Stream shows alerts: the gateway does not reach the broker.",
                    "cps",
                    (Query("max(rate(pricelink_sse_events_total[1m]))", "events"),),
                ),
            ),
        ),
        (
            "Read model and intake",
            (
                Panel(
                    "Alerts that are not in Redis yet",
                    "The page's lists are old by so many events. Rising: see Process, whether read-model and Redis are there.",
                    "short",
                    (Query("max(pricelink_read_model_lag_events)", "events"),),
                    thresholds=((0, GREEN), (1_000, AMBER), (10_000, RED)),
                    width=12,
                ),
                Panel(
                    "Bytes that Kafka has not acknowledged",
                    "Lines sent over HTTP and on their way into feeds. Near PRICELINK_FEEDS_IN_FLIGHT_BYTES provinces get 429: the broker is slow.",
                    "bytes",
                    (Query("max by (instance) (pricelink_ingest_in_flight_bytes)", "{{instance}}"),),
                    thresholds=((0, GREEN), (48 << 20, AMBER), (60 << 20, RED)),
                    width=12,
                ),
            ),
        ),
    ),
)
