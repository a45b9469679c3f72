"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.core import TyperCommand

from cli.backup_commands import backup, move, restore
from cli.gateway_commands import dlq_app, items_app, keys_app, migration_app
from cli.options import PIPED_COLUMNS, KafkaOption, Main, fail, say, settings_of
from cli.policy import policy_app
from cli.security_commands import principals_app, topics_app
from cli.state import state_app

app = typer.Typer(
    name="pricelink",
    cls=Main,
    help="Real-time price linkage: every province's price against the national lowest, as alerts within a second.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
log_app = typer.Typer(help="The log, topic feeds.", no_args_is_help=True)
secrets_app = typer.Typer(help="Passwords of the compose file's services.", no_args_is_help=True)
app.add_typer(secrets_app, name="secrets")
app.add_typer(topics_app, name="topics")
app.add_typer(principals_app, name="principals")
app.add_typer(log_app, name="log")
app.add_typer(keys_app, name="keys")
app.add_typer(dlq_app, name="dlq")
app.add_typer(items_app, name="items")
app.add_typer(migration_app, name="migration")
app.add_typer(state_app, name="state")
app.add_typer(policy_app, name="policy")
app.command("backup")(backup)
app.command("restore")(restore)
topics_app.command("move")(move)

OWN_KAFKA: Final = "own"
"""What `--kafka` means where no broker's address follows it."""


class _RunCommand(TyperCommand):
    """`--kafka` may stand alone; typer knows no option whose value may be left out."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Puts in the value that was left out."""
        completed: list[str] = []
        for argument, following in zip(args, [*args, "-"][1:], strict=True):
            completed.append(argument)
            if argument == "--kafka" and following.startswith("-"):
                completed.append(OWN_KAFKA)
        return super().parse_args(ctx, completed)


PROCESSES: Final = frozenset(
    {"worker", "clock", "read-model", "listings", "scorecards", "silence", "gateway", "notifier", "copier", "market"}
)
REDIS_PROCESSES: Final = frozenset({"read-model", "listings"})
"""What they keep is in Redis; the others go on without it."""


@app.callback()
def _before(ctx: typer.Context) -> None:
    """Has a process look whether it is let in, before it starts."""
    process = ctx.invoked_subcommand
    if process not in PROCESSES:
        return
    from config.settings import settings

    if settings().secured:
        from agents import logs
        from agents.preflight import check

        logs.set_up(settings(), process)
        if code := check(settings(), redis_is_vital=process in REDIS_PROCESSES):
            raise typer.Exit(code)


class Past(StrEnum):
    """What the simulated market does about the time before it opens."""

    FIRST = "first"
    ONLY = "only"
    NONE = "none"


@app.command(cls=_RunCommand)
def run(
    port: Annotated[
        int | None,
        typer.Option(help="Port of the page; 0: a free one. Default: 8000, or a free one.", min=0, max=65_535),
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes that share the partitions.", min=1, max=64)] = 1,
    partitions: Annotated[int, typer.Option(help="Of topic feeds; never changed afterwards.", min=1, max=1000)] = 4,
    kafka: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]",
            help="Use this Kafka, not the embedded broker. Without HOST:PORT: one of its own, which keeps its data.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of its own Kafka's data. Default: .cache/kafka-data of a checkout.", file_okay=False),
    ] = None,
    redis: Annotated[str | None, typer.Option(metavar="URL", help="Use this Redis, not one of our own.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file.", exists=True, dir_okay=False)] = None,
    market: Annotated[bool, typer.Option(help="Feed it from a simulated market.")] = True,
    rate: Annotated[float, typer.Option(help="Records a second of the simulated market.", min=0.1)] = 200.0,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 1,
    logs: Annotated[Path | None, typer.Option(help="Folder of the processes' logs.", file_okay=False)] = None,
) -> None:
    """Run everything on this machine: broker, Redis, worker, clock, page, simulated market. Ctrl-C stops it."""
    from agents.real_kafka import default_data
    from cli.run import RunOptions
    from cli.run import run as run_tree

    if data is not None and kafka != OWN_KAFKA:
        raise fail("--data is for --kafka without HOST:PORT")
    own = (data or default_data()) if kafka == OWN_KAFKA else None
    options = RunOptions(
        port, workers, None if own else kafka, own, redis, partitions, policy, market, rate, seed, logs
    )
    raise typer.Exit(run_tree(options, say))


@app.command()
def worker() -> None:
    """Read feeds, keep the prices, write alerts. Run several: they share the partitions."""
    from agents.worker import run as run_worker
    from config.settings import settings

    raise typer.Exit(run_worker(settings()))


@app.command()
def clock() -> None:
    """Write a tick to every partition of feeds each second, so that timers fire when feeds are silent."""
    from agents.clock import run as run_clock
    from config.settings import settings

    raise typer.Exit(run_clock(settings()))


@app.command("read-model")
def read_model(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Drop what is in Redis and read the topics again.")
    ] = False,
) -> None:
    """Keep the national lowest prices and the open alerts in Redis, for queries and the page."""
    from agents.read_model import run as run_read_model
    from config.settings import settings

    raise typer.Exit(run_read_model(settings(), rebuild=rebuild))


@app.command()
def listings() -> None:
    """Keep each code's prices by province in Redis, for price queries and for who is told of a code's lowest price."""
    from agents.listings import run as run_listings
    from config.settings import settings

    raise typer.Exit(run_listings(settings()))


@app.command()
def scorecards() -> None:
    """Count alerts by supplier, institution and province, and suggest a step for each."""
    from agents.scorecards import run as run_scorecards
    from config.settings import settings

    raise typer.Exit(run_scorecards(settings()))


@app.command()
def silence() -> None:
    """Raise an alert for a province whose feed has stopped, and end it when it goes on."""
    from agents.silence import run as run_silence
    from config.settings import settings

    raise typer.Exit(run_silence(settings()))


@app.command()
def gateway() -> None:
    """Serve HTTP: feeds in, queries, the live stream of alerts, the page."""
    from agents import logs
    from agents.allocation import give_back_freed_blocks
    from agents.clients import new_producer
    from agents.exits import ended_by
    from agents.metrics_server import serve
    from agents.watchdog import end_in_time
    from config.settings import settings
    from gateway.server import run as run_gateway

    logs.set_up(settings(), "gateway")
    give_back_freed_blocks()
    try:
        run_gateway(settings(), new_producer, on_stop=end_in_time, serve_metrics=serve)
    except Exception as fault:
        raise typer.Exit(ended_by(fault)) from fault


@app.command()
def notifier() -> None:
    """Send suppliers' events to their webhooks: signed, tried again, in order within a code."""
    from agents import logs
    from agents.app import exit_code, stop_on_signals
    from agents.clients import new_producer
    from agents.metrics_server import serve
    from config.settings import settings
    from notifier.process import run as run_notifier

    logs.set_up(settings(), "notifier")
    raise typer.Exit(exit_code(partial(run_notifier, settings(), new_producer, stop_on_signals, serve)))


@app.command()
def copier() -> None:
    """Copy the events of PRICELINK_COPIES' suppliers into Kafka topics of their own."""
    from redis.asyncio import Redis

    from agents import logs
    from agents.app import exit_code
    from agents.copier import run as run_copier
    from config.settings import settings
    from gateway.listers import Listers
    from gateway.read_model import ReadModel

    async def copy() -> None:
        model = ReadModel(Redis.from_url(settings().redis_url, socket_timeout=3.0, socket_connect_timeout=1.0))
        try:
            await run_copier(settings(), Listers(model))
        finally:
            await model.close()

    logs.set_up(settings(), "copier")
    raise typer.Exit(exit_code(copy))


@app.command()
def market(
    rate: Annotated[float, typer.Option(help="Records a second, once all products are listed.", min=0.1)] = 200.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same market.")] = 1,
    products: Annotated[int, typer.Option(help="Products at the start.", min=1, max=100_000)] = 2_000,
    past: Annotated[
        Past,
        typer.Option(help="Contracts, orders and debts from before it opens: write them first, only them, or none."),
    ] = Past.FIRST,
) -> None:
    """Write the records of a simulated market of 32 provinces into feeds."""
    from cli.demo_market import run as run_market
    from cli.demo_market import run_history
    from config.settings import settings

    if past is not Past.NONE:
        code = run_history(settings(), seed, products)
        if code or past is Past.ONLY:
            raise typer.Exit(code)
    raise typer.Exit(run_market(settings(), rate, seed, products))


@app.command("up-native")
def up_native(
    file: Annotated[Path, typer.Option(help="The compose file.", exists=True, dir_okay=False)] = Path(
        "docker-compose.yml"
    ),
    profile: Annotated[
        list[str] | None, typer.Option(help="Only services of this profile; may be given again. Default: as .env says.")
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=N", help="So many copies of a service; may be given again.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of volumes and logs. Default: .cache/native of a checkout.")
    ] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Not the ports that the file publishes.")] = False,
) -> None:
    """Run the compose file's services on this machine, without Docker. Ctrl-C stops them; volumes stay."""
    from cli.native_twin import TwinOptions
    from cli.native_twin import run as run_twin

    copies = {}
    for text in scale or ():
        name, _, count = text.partition("=")
        if not count.isdigit() or int(count) < 1:
            raise fail(f"--scale {text}: write SERVICE=N")
        copies[name] = int(count)
    options = TwinOptions(file, data, tuple(profile) if profile else None, copies, free_ports)
    raise typer.Exit(run_twin(options, say))


@secrets_app.command("make")
def secrets_make(folder: Annotated[Path, typer.Argument(help="Folder of the files.", file_okay=False)]) -> None:
    """Make the passwords that are missing, as files; what is there stays."""
    from cli.secret_files import make

    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = make(folder)
    except OSError as error:
        raise fail(f"{folder} cannot be written: {error.strerror}") from error
    say(f"made {', '.join(made)}" if made else "all there")


@app.command()
def feed(
    file: Annotated[Path, typer.Argument(help="NDJSON as it is, or CSV or XLSX with --mapping; - is standard input.")],
    mapping: Annotated[
        Path | None, typer.Option(help="TOML or YAML: which column is which field (docs/feeds.md).")
    ] = None,
    province: Annotated[
        str | None, typer.Option(help="Six digits, for a price list that does not name its own.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="File for every rejected line, as NDJSON.", dir_okay=False)
    ] = None,
    kafka: KafkaOption = "localhost:9092",
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The broker is the one that `pricelink run` started.")
    ] = False,
) -> None:
    """Send a file's records to feeds; lines that are none are reported with their numbers."""
    from cli.feed import FeedFault
    from cli.feed import feed as feed_file
    from config.settings import settings

    try:
        kind = {"broker_kind": "embedded"} if embedded else {}
        chosen = settings().model_copy(update={"bootstrap": kafka, **kind})
        raise typer.Exit(feed_file(chosen, file, mapping, province, rejects, say))
    except FeedFault as fault:
        raise fail(str(fault)) from fault


@app.command()
def replay(
    log: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LOG]", help="A log in a file, as `pricelink log dump` writes it; - is standard input."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for alerts.ndjson, price-changes.ndjson, dead-letters.ndjson.", file_okay=False)
    ] = Path("replay"),
    policy: Annotated[Path | None, typer.Option(help="Policy file. Default: the built-in one.")] = None,
    partitions: Annotated[int | None, typer.Option(help="How many partitions feeds has.", min=1, max=1000)] = None,
    from_kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Read topic feeds in place of LOG.")
    ] = None,
) -> None:
    """Run the machine over a log: the same log and policy give the same bytes, always."""
    from cli.log_file import LogFault
    from cli.replay_command import replay_command

    try:
        broker = None if from_kafka is None else settings_of(from_kafka, embedded=False)
        replay_command(log, broker, policy, partitions, out)
    except LogFault as fault:
        raise fail(str(fault)) from fault


@app.command()
def explain(
    alert_id: Annotated[str, typer.Argument(help="As in the event: kind:code:province:n; /revision may follow.")],
    revision: Annotated[int | None, typer.Option(help="Which of its events. Default: the last.", min=1)] = None,
    log: Annotated[Path | None, typer.Option(help="Read the records from this log, not from Kafka.")] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="Read the events from this alerts.ndjson; without it, replay --log.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file. Default: the built-in one.")] = None,
    partitions: Annotated[
        int | None, typer.Option(help="Of the log that is replayed. Default: as many as occur.", min=1)
    ] = None,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Show the records behind an alert, and the arithmetic that made it."""
    from rich.console import Console

    from cli.explain import Request
    from cli.explain import explain as explain_alert
    from cli.log_file import LogFault

    try:
        console = Console()
        if not console.is_terminal:
            console = Console(width=PIPED_COLUMNS)
        broker = settings_of(kafka, embedded=False)
        explain_alert(Request(alert_id, revision, log, alerts, policy, partitions, broker), console)
    except LogFault as fault:
        raise fail(str(fault)) from fault


@log_app.command("dump")
def log_dump(
    out: Annotated[Path, typer.Option(help="File to write; - is standard output.")] = Path("-"),
    topic: Annotated[str, typer.Option(help="Topic to read.")] = "feeds",
    partition: Annotated[list[int] | None, typer.Option(help="Only this one; may be given again.")] = None,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Write a topic as a LOG: one message a line, for `pricelink replay` and `pricelink explain`."""
    from cli.log_file import LogFault
    from cli.replay_command import dump_command

    try:
        dump_command(settings_of(kafka, embedded=False), topic, partition, out)
    except LogFault as fault:
        raise fail(str(fault)) from fault


@app.command()
def doctor(
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Look at this Kafka, too.")] = None,
    port: Annotated[int | None, typer.Option(help="Port that the page is to have.", min=0, max=65_535)] = None,
) -> None:
    """Say what this machine lacks of what pricelink needs, and how to get it. Exit code 1 if `run` cannot work."""
    from rich.console import Console

    from cli.doctor import examine, report

    console = Console()
    raise typer.Exit(
        report(list(examine(kafka, port)), console if console.is_terminal else Console(width=PIPED_COLUMNS))
    )


@app.command()
def status(kafka: KafkaOption = "localhost:9092") -> None:
    """Show workers, partitions, lag, checkpoints, versions. Exit code 1 if something is wrong, which is said."""
    from rich.console import Console

    from cli.status import look, problems, tables
    from config.settings import settings

    found = look(settings().model_copy(update={"bootstrap": kafka}))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_COLUMNS)
    for table in tables(found):
        console.print(table)
    wrong = list(problems(found))
    for text in wrong:
        typer.secho(text, fg=typer.colors.RED, err=True)
    raise typer.Exit(1 if wrong else 0)


@app.command("warm-up")
def warm_up() -> None:
    """Compile the kernels into the cache, so that the first start is as quick as the others."""
    from cli.warm_up import warm_up as compile_kernels

    typer.echo(compile_kernels())


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("pricelink"))
