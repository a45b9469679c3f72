"""Dashboard *Stream*: whether records become alerts, and how quickly."""

from typing import Final

from ops.grafana.panels import AMBER, GREEN, PARTITION, PROVINCE, RED, Board, Panel, Query

_PART: Final = '{partition=~"$partition"}'

STREAM: Final = Board(
    "pricelink-stream",
    "pricelink: Stream",
    "From a record's append to its alert: rates, latency, lag, checkpoints, dead letters, silence.",
    (PROVINCE, PARTITION),
    (
        (
            "Records",
            (
                Panel(
                    "Records a second, by type",
                    "What workers read. Ticks alone, one a partition and second: no province sends anything.",
                    "cps",
                    (Query("sum by (type) (pricelink:records:rate1m)", "{{type}}"),),
                    draw="stacked",
                ),
                Panel(
                    "Records a second, by outcome",
                    "Stale ones change nothing: a province sends again what is known. Dead letters: see below.",
                    "cps",
                    (Query("sum by (outcome) (pricelink:records:rate1m)", "{{outcome}}"),),
                ),
                Panel(
                    "From append to alert",
                    "Half of the alerts, and 99 of 100, are acknowledged within so long. Above a second: look at lag, then at CPU, then at the broker.",
                    "s",
                    (
                        Query("pricelink:ingest_to_alert_seconds:p50_5m", "p50"),
                        Query("pricelink:ingest_to_alert_seconds:p99_5m", "p99"),
                    ),
                    thresholds=((0, GREEN), (0.25, AMBER), (1, RED)),
                ),
            ),
        ),
        (
            "Lag",
            (
                Panel(
                    "Messages that wait, by partition",
                    "Falling is catching up. Rising, or flat while others move: docs/operations.md, Lag without progress.",
                    "short",
                    (Query(f"max by (partition) (pricelink_lag_records{_PART})", "{{partition}}"),),
                ),
                Panel(
                    "Lag in time, by partition",
                    "How old the newest message applied is while more wait. Alerts are late by so much.",
                    "s",
                    (Query(f"max by (partition) (pricelink_lag_seconds{_PART})", "{{partition}}"),),
                    thresholds=((0, GREEN), (5, AMBER), (60, RED)),
                ),
                Panel(
                    "Partitions that have a worker",
                    "Fewer than there are: nobody computes the rest. Start workers; see WorkerGone.",
                    "short",
                    (Query("count(max by (partition) (pricelink_lag_records))", "partitions"),),
                    draw="figure",
                    width=4,
                    decimals=0,
                ),
                Panel(
                    "Rebalances an hour",
                    "Assignments of partitions, counted by each worker. Many without a deployment: workers die or are too slow to be heard.",
                    "short",
                    (Query("sum(increase(pricelink_rebalances_total[1h]))", "rebalances"),),
                    draw="figure",
                    width=4,
                    decimals=0,
                    thresholds=((0, GREEN), (10, AMBER), (30, RED)),
                ),
            ),
        ),
        (
            "Checkpoints",
            (
                Panel(
                    "Age of the last checkpoint, by partition",
                    "A restart repeats what came since. Above half a minute while records are applied: CheckpointTooOld.",
                    "s",
                    (Query(f"max by (partition) (pricelink_checkpoint_age_seconds{_PART})", "{{partition}}"),),
                    thresholds=((0, GREEN), (15, AMBER), (30, RED)),
                ),
                Panel(
                    "Bytes a second into the state topic",
                    "Rows that changed, before compression. In a catch-up every row changes: high for minutes is usual, for hours is not.",
                    "Bps",
                    (Query("sum(rate(pricelink_checkpoint_bytes_total[1m]))", "bytes"),),
                ),
                Panel(
                    "Bytes of topics on disk",
                    "feeds grows for ever, by design: plan the disk. pricelink.state must fall now and then: StateTopicNotCompacted.",
                    "bytes",
                    (
                        Query(
                            'max by (topic) (pricelink_topic_bytes{topic=~"feeds|alerts|pricelink.state"})', "{{topic}}"
                        ),
                    ),
                    none_yet="the embedded broker keeps topics in memory and cannot say how large they are",
                ),
                Panel(
                    "Seconds the last restore took",
                    "How long a partition stood still after its last assignment. It grows with products; docs/performance.md has the figures.",
                    "s",
                    (Query("max by (instance) (pricelink_restore_seconds)", "{{instance}}"),),
                ),
            ),
        ),
        (
            "What provinces send",
            (
                Panel(
                    "Dead letters in ten minutes, by reason",
                    "Lines that are no valid records. `pricelink dlq list --reason …` names the lines; the province corrects and sends them again, or `dlq replay` does.",
                    "short",
                    (Query("topk(10, sum by (reason) (increase(pricelink_dead_letters_total[10m])))", "{{reason}}"),),
                    draw="stacked",
                ),
                Panel(
                    "Share of dead letters",
                    "Of all lines of the last ten minutes. Above one in twenty a feed is broken: DeadLetterShare.",
                    "percentunit",
                    (Query("pricelink:dead_letters:share10m", "share"),),
                    thresholds=((0, GREEN), (0.01, AMBER), (0.05, RED)),
                    most=1,
                ),
                Panel(
                    "Since the last record, by province",
                    "A province that climbs while others stay low has a feed that stopped: call its desk; ProvinceSilent.",
                    "s",
                    (
                        Query(
                            'max by (province) (pricelink_province_quiet_seconds{province=~"$province"})',
                            "{{province}}",
                        ),
                    ),
                    thresholds=((0, GREEN), (1_800, AMBER), (3_600, RED)),
                ),
                Panel(
                    "Silent provinces",
                    "Silences that are open. The alerts are feed_silence, in the page's list.",
                    "short",
                    (Query('sum(max by (province) (pricelink_province_silent{province=~"$province"}))', "silent"),),
                    draw="figure",
                    decimals=0,
                    thresholds=((0, GREEN), (1, RED)),
                ),
            ),
        ),
    ),
)
