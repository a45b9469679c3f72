"""Commands around what provinces send: keys, dead letters, the catalogue, a migration."""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import PIPED_COLUMNS, EmbeddedOption, KafkaOption, fail, say, settings_of

keys_app = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)
dlq_app = typer.Typer(help="Lines that are no valid records, topic feeds.dead-letter.", no_args_is_help=True)
items_app = typer.Typer(help="The national catalogue of codes.", no_args_is_help=True)
migration_app = typer.Typer(help="Coming from an older platform.", no_args_is_help=True)


@keys_app.command("create")
def keys_create(
    supplier: Annotated[str | None, typer.Option(metavar="USCC", help="Social credit code: events and prices.")] = None,
    province: Annotated[str | None, typer.Option(metavar="CODE", help="Six digits: feeds of this province.")] = None,
    operator: Annotated[str | None, typer.Option(metavar="NAME", help="A desk: all feeds, catalogue, page.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Only this; may be given again. Default: all it may.")] = None,
    days: Annotated[int, typer.Option(help="Until it expires.")] = 365,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """Make a key and show it, this once. An owner has at most two live ones, so that they can be changed in peace."""
    from cli.keys import create
    from cli.log_file import LogFault
    from gateway.keys import KeyFault, owner_of

    try:
        owner = owner_of(supplier, province, operator)
        key, token = create(settings_of(kafka, embedded=embedded), owner, scope or (), days)
    except (KeyFault, LogFault) as fault:
        raise fail(str(fault)) from fault
    say(f"Key {key.id} of {owner}, for {days} days: {', '.join(key.scopes)}. It is shown this once:")
    typer.echo(token)


@keys_app.command("first")
def keys_first(
    operator: Annotated[str, typer.Option(metavar="NAME", help="Whose key it is.")] = "admin",
    days: Annotated[int, typer.Option(help="Until it expires.")] = 365,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """Make an operator's key where there has never been one, and show it; say so and do nothing otherwise."""
    from cli.keys import create_first
    from cli.log_file import LogFault
    from gateway.keys import KeyFault

    try:
        made = create_first(settings_of(kafka, embedded=embedded), operator, days)
    except (KeyFault, LogFault) as fault:
        raise fail(str(fault)) from fault
    if made is None:
        say("There is an operator's key already; `pricelink keys create --operator NAME` makes another.")
        return
    key, token = made
    say(f"The first key, of {key.owner}, for {days} days: {', '.join(key.scopes)}. It is shown this once:")
    typer.echo(token)


@keys_app.command("list")
def keys_list(
    ended: Annotated[bool, typer.Option("--all", help="Also those that are expired or revoked.")] = False,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """List the keys: whose, what they may, until when, when last used. The keys themselves are kept nowhere."""
    from rich.console import Console

    from cli.keys import all_keys, table_of
    from cli.log_file import LogFault

    chosen = settings_of(kafka, embedded=embedded)
    try:
        table = table_of(chosen, all_keys(chosen).values(), ended=ended)
    except LogFault as fault:
        raise fail(str(fault)) from fault
    console = Console()
    (console if console.is_terminal else Console(width=PIPED_COLUMNS)).print(table)


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `pricelink keys list` shows it.")],
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """End a key; every gateway knows within a second or so."""
    from cli.keys import revoke
    from cli.log_file import LogFault
    from gateway.keys import KeyFault

    try:
        key = revoke(settings_of(kafka, embedded=embedded), key_id)
    except (KeyFault, LogFault) as fault:
        raise fail(str(fault)) from fault
    say(f"Key {key.id} of {key.owner} is revoked.")


ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="Only of this reason; may be given again.")]
ProvinceOption = Annotated[str | None, typer.Option("--province", metavar="CODE", help="Only of this province.")]
HoursOption = Annotated[float | None, typer.Option("--hours", help="Only of the last so many hours.", min=0)]
PlacesArgument = Annotated[list[str] | None, typer.Argument(metavar="[PLACE]...", help="As dlq list shows them: 0:17.")]


@dlq_app.command("list")
def dlq_list(
    reason: ReasonOption = None,
    province: ProvinceOption = None,
    hours: HoursOption = None,
    limit: Annotated[int, typer.Option(help="The last so many.", min=1, max=10_000)] = 50,
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """List dead letters, the last ones, and count them by reason."""
    from rich.console import Console

    from cli.dlq import Chosen, letters, listed, since_ms
    from cli.log_file import LogFault

    chosen = Chosen(frozenset(reason or ()), province, since_ms(hours))
    try:
        table, reasons = listed(letters(settings_of(kafka, embedded=False), chosen), limit)
    except LogFault as fault:
        raise fail(str(fault)) from fault
    console = Console()
    (console if console.is_terminal else Console(width=PIPED_COLUMNS)).print(table)
    say(", ".join(f"{name} {count:,}" for name, count in reasons.most_common()) or "no dead letters")


@dlq_app.command("show")
def dlq_show(
    place: Annotated[list[str], typer.Argument(metavar="PLACE...", help="As dlq list shows it: 0:17.")],
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Show a dead letter whole: its reason, where it came from, its bytes."""
    from cli.dlq import Chosen, letters, shown
    from cli.log_file import LogFault

    try:
        found = list(letters(settings_of(kafka, embedded=False), Chosen(places=tuple(place))))
    except LogFault as fault:
        raise fail(str(fault)) from fault
    typer.echo("\n\n".join(map(shown, found)))


@dlq_app.command("replay")
def dlq_replay(
    place: PlacesArgument = None,
    reason: ReasonOption = None,
    province: ProvinceOption = None,
    hours: HoursOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Where nothing else is said.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """Send dead letters again that are good by now: a code that holds again, a clock that has caught up, a right partition."""
    from cli.dlq import Chosen, FeedFault, letters, replay, since_ms
    from cli.log_file import LogFault

    if not (place or reason or province or hours or everything):
        raise fail("say which: places, --reason, --province, --hours, or --all")
    settings_, reasons = settings_of(kafka, embedded=embedded), frozenset(reason or ())
    chosen = Chosen(reasons, province, since_ms(hours), tuple(place or ()))
    try:
        raise typer.Exit(replay(settings_, letters(settings_, chosen), reasons, say, dry_run=dry_run))
    except (LogFault, FeedFault) as fault:
        raise fail(str(fault)) from fault


@items_app.command("import")
def items_import(
    file: Annotated[list[Path], typer.Argument(help="The release's files, CSV or XLSX.", exists=True, dir_okay=False)],
    released: Annotated[str, typer.Option(metavar="DAY", help="Date of the release: 2026-03-20.")],
    header_line: Annotated[int, typer.Option(help="The line with the columns' names.", min=1, max=1000)] = 1,
    rejects: Annotated[Path | None, typer.Option(help="File for rejected rows, as NDJSON.", dir_okay=False)] = None,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """Send a release of the national catalogue: which codes hold, which are retired, what replaces them."""
    from cli.feed import FeedFault
    from cli.items import import_items

    try:
        chosen = settings_of(kafka, embedded=embedded)
        raise typer.Exit(import_items(chosen, file, released, rejects, say, header_line))
    except FeedFault as fault:
        raise fail(str(fault)) from fault


@migration_app.command("check")
def migration_check(
    old: Annotated[Path, typer.Argument(help="The old platform's export, CSV or XLSX.", exists=True, dir_okay=False)],
    mapping: Annotated[Path, typer.Option(help="Which column is which field (docs/feeds.md).")],
    province: Annotated[str, typer.Option(metavar="CODE", help="Six digits.")],
    out: Annotated[Path | None, typer.Option(help="File for the findings, as CSV.", dir_okay=False)] = None,
    kafka: KafkaOption = "localhost:9092",
    embedded: EmbeddedOption = False,
) -> None:
    """Compare an old export with what the machine has: missing, extra, other prices, retired codes, duplicates."""
    from cli.feed import FeedFault
    from cli.log_file import LogFault
    from cli.migration import check

    try:
        raise typer.Exit(check(settings_of(kafka, embedded=embedded), old, mapping, province, out, say))
    except (FeedFault, LogFault) as fault:
        raise fail(str(fault)) from fault
