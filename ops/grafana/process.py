"""Dashboard *Process*: what the processes use, and whether they are well."""

from typing import Final

from ops.grafana.panels import AMBER, GREEN, JOB, RED, Board, Panel, Query

PROCESS: Final = Board(
    "pricelink-process",
    "pricelink: Process",
    "CPU, memory, event loops, restarts, versions, and what processes depend on.",
    (JOB,),
    (
        (
            "Are they there",
            (
                Panel(
                    "Processes that answer",
                    "By job. One that is missing: docs/operations.md, Process gone.",
                    "short",
                    (Query('sum by (job) (up{job=~"$job"})', "{{job}}"),),
                    draw="figure",
                    width=10,
                    decimals=0,
                    thresholds=((0, RED), (1, GREEN)),
                ),
                Panel(
                    "Kafka and Redis",
                    "1: it answers a gateway. 0: BrokerAway or RedisAway.",
                    "short",
                    (Query("pricelink:dependency_up:max", "{{dependency}}"),),
                    draw="figure",
                    width=5,
                    decimals=0,
                    thresholds=((0, RED), (1, GREEN)),
                ),
                Panel(
                    "Versions",
                    "How many processes run which version. More than one after a deployment: it stopped half way.",
                    "short",
                    (Query('count by (version) (pricelink_build_info{job=~"$job"})', "{{version}}"),),
                    draw="figure",
                    width=4,
                    decimals=0,
                ),
                Panel(
                    "Restarts in an hour",
                    "A process that starts again and again: its exit code, then its log (docs/operations.md, Exit codes).",
                    "short",
                    (Query('sum by (job) (changes(process_start_time_seconds{job=~"$job"}[1h]))', "{{job}}"),),
                    width=5,
                    thresholds=((0, GREEN), (1, AMBER), (5, RED)),
                ),
            ),
        ),
        (
            "What they use",
            (
                Panel(
                    "CPU",
                    "Cores in use. A worker at 1 for minutes catches up; for hours: more partitions' worth of workers.",
                    "short",
                    (
                        Query(
                            'sum by (job, instance) (rate(process_cpu_seconds_total{job=~"$job"}[1m]))',
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory",
                    "Resident. A worker grows with products and orders; docs/performance.md says by how much. Growth without new products: report it.",
                    "bytes",
                    (
                        Query(
                            'sum by (job, instance) (process_resident_memory_bytes{job=~"$job"})',
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Event loop delay, p99",
                    "How late a process does what is due. Above 0.1 s: it has too much to do, or the machine has.",
                    "s",
                    (Query('pricelink:loop_delay_seconds:p99_5m{job=~"$job"}', "{{job}} {{instance}}"),),
                    thresholds=((0, GREEN), (0.1, AMBER), (1, RED)),
                ),
                Panel(
                    "Open files and sockets",
                    "Against the limit of the process. Above four fifths: raise the limit, or find who keeps connections open.",
                    "percentunit",
                    (Query('max by (job) (process_open_fds{job=~"$job"} / process_max_fds{job=~"$job"})', "{{job}}"),),
                    thresholds=((0, GREEN), (0.8, AMBER), (0.95, RED)),
                    width=12,
                ),
                Panel(
                    "Share of time in the machine",
                    "Of each worker: records turned into alerts. Near 1: this worker is at its limit; start another, up to one a partition.",
                    "percentunit",
                    (Query("rate(pricelink_apply_seconds_total[1m])", "{{instance}}"),),
                    thresholds=((0, GREEN), (0.6, AMBER), (0.9, RED)),
                    width=12,
                ),
            ),
        ),
    ),
)
