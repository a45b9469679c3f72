"""`pricelink explain`: the records behind an alert, read from the log at the positions it names, and its arithmetic."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

import config.settings
from cli.kafka_log import partitions_of, read_positions, read_topic
from cli.log_file import LogFault, Message, open_log, read_log
from cli.replay import read_policy, replay
from config.provinces import PROVINCE_INDEX, PROVINCES
from config.settings import Settings
from config.topics import ALERTS, FEEDS
from gateway.arithmetic import arithmetic, policy_of, record_cells
from schemas.codes import partition_of
from schemas.parser import Record, Reject, parse_line
from schemas.policy import Policy

BANDS: Final = {"red": "bold red", "yellow": "bold yellow", "blue": "bold blue", None: "dim"}
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be explained, and where to look. ``log`` and ``alerts``: files; without them, Kafka at ``broker``."""

    alert_id: str
    revision: int | None
    log: Path | None
    alerts: Path | None
    policy: Path | None
    partitions: int | None
    broker: Settings


@dataclass(frozen=True, slots=True)
class Evidence:
    """One position that an event names, and what stands there: a record, the reject it would be, or nothing any more."""

    position: dict[str, int]
    line: bytes | None
    record: Record | Reject | None


def explain(request: Request, console: Console) -> None:
    """Prints what made an alert. Raises LogFault where the alert, the log or the policy is not to be found."""
    alert_id, _, revision_text = request.alert_id.partition("/")
    revision = int(revision_text) if revision_text.isdecimal() else request.revision
    chosen = read_policy(request.policy or config.settings.settings().policy_file)
    events = sorted(_events(alert_id, request, chosen), key=lambda event: int(event["revision"]))
    if not events:
        raise LogFault(f"no event of alert {alert_id} is there; its id is in the event's field alert_id")
    event = events[-1] if revision is None else next((each for each in events if each["revision"] == revision), None)
    if event is None:
        raise LogFault(f"alert {alert_id} has no revision {revision}: there are 1 to {events[-1]['revision']}")
    evidence = _evidence(event, request)
    policy = _policy_then(event, chosen, request)
    _print_alert(events, event, console)
    _print_evidence(event, evidence, console)
    _print_arithmetic(event, events[0], evidence, policy, console)


def _events(alert_id: str, request: Request, policy: Policy) -> Iterator[Event]:
    seen: set[int] = set()
    for value in _event_bytes(alert_id, request, policy):
        event = orjson.loads(value)
        if event["alert_id"] == alert_id and event["revision"] not in seen:  # a repeat has the same id and bytes
            seen.add(event["revision"])
            yield event


def _event_bytes(alert_id: str, request: Request, policy: Policy) -> Iterator[bytes]:
    needle = orjson.dumps(alert_id)[1:-1]
    if request.alerts is not None:
        with open_log(request.alerts) as file:
            yield from (line for line in file if needle in line)
    elif request.log is not None:
        yield from (line for line in _replayed(request.log, request.partitions, policy) if needle in line)
    else:
        count = partitions_of(request.broker, ALERTS.name)
        parts = alert_id.split(":")
        only = [partition_of(parts[1], count)] if len(parts) > 1 else None
        yield from (each.value for each in read_topic(request.broker, ALERTS.name, only) if needle in each.value)


def _replayed(log: Path, partitions: int | None, policy: Policy) -> list[bytes]:
    if partitions is None:
        partitions = 1 + max((message.partition for message in _messages(log)), default=0)
    with tempfile.TemporaryDirectory(prefix="pricelink-") as out:
        replay(_messages(log), policy, partitions, Path(out))
        return (Path(out) / "alerts.ndjson").read_bytes().splitlines()


def _messages(log: Path) -> Iterator[Message]:
    with open_log(log) as file:
        yield from read_log(file, str(log))


def _evidence(event: Event, request: Request) -> list[Evidence]:
    positions: list[dict[str, int]] = event["evidence"]
    places = list(dict.fromkeys((position["partition"], position["offset"]) for position in positions))
    if request.log is not None:
        wanted = set(places)
        found = {place: each for each in _messages(request.log) if (place := (each.partition, each.offset)) in wanted}
    else:
        found = read_positions(request.broker, FEEDS.name, places)
    return [_at(position, found.get((position["partition"], position["offset"]))) for position in positions]


def _at(position: dict[str, int], message: Message | None) -> Evidence:
    lines = [] if message is None else message.value.split(b"\n")
    if position["line"] >= len(lines):
        return Evidence(position, None, None)
    line = lines[position["line"]]
    return Evidence(position, line, parse_line(line))


def _policy_then(event: Event, chosen: Policy, request: Request) -> Policy | None:
    """Returns the policy that held: the file's, or the one of a policy record of the partition."""
    version, position = event["policy_version"], event["evidence"][0] if event["evidence"] else None
    if chosen.version == version or position is None:
        return chosen if chosen.version == version else None
    partition = position["partition"]
    messages = _messages(request.log) if request.log else read_topic(request.broker, FEEDS.name, [partition])
    for message in messages:
        if message.partition == partition and b'"policy"' in message.value:
            found = policy_of(message.value.split(b"\n"), version)
            if found is not None:
                return found
    return None


def _print_alert(events: list[Event], shown: Event, console: Console) -> None:
    console.print(f"[bold]{shown['alert_id']}[/]  {_place(shown.get('province'))}", highlight=False, soft_wrap=True)
    console.print(f"code {shown['code']}" + (f", supplier {shown['supplier']}" if "supplier" in shown else ""))
    table = Table(box=None, pad_edge=False, title="Events", title_justify="left")
    for column in ("", "revision", "at", "change", "reason", "band", "price", "reference", "excess", "short"):
        table.add_column(
            column, justify="right" if column in {"price", "reference", "excess"} else "left", no_wrap=True
        )
    for event in events:
        excess = f"{event['excess_bp']} bp" if "excess_bp" in event else ""
        table.add_row(
            ">" if event is shown else "",
            str(event["revision"]),
            event["at"],
            event["change"],
            event.get("reason", ""),
            _band(event),
            event.get("price", ""),
            event.get("reference", {}).get("price", ""),
            excess,
            _short(event),
        )
    console.print(table)


def _short(event: Event) -> str:
    if "amount" in event:
        return f"{event['amount']['owed']} owed"
    if "quantity" in event:
        quantity = event["quantity"]
        return f"{quantity['overdue']} of {quantity['due']}, {quantity['filled']} filled"
    return ""


def _band(event: Event) -> str:
    band, before = event["band"], event["previous_band"]
    text = f"[{BANDS[band]}]{band or 'none'}[/]"
    return text if band == before else f"[{BANDS[before]}]{before or 'none'}[/] → {text}"


def _place(code: str | None) -> str:
    if code is None or code not in PROVINCE_INDEX:
        return code or "no province"
    return f"{PROVINCES[PROVINCE_INDEX[code]].name_en} ({code})"


def _print_evidence(event: Event, evidence: Iterable[Evidence], console: Console) -> None:
    table = Table(box=None, pad_edge=False, title=f"\nEvidence of revision {event['revision']}", title_justify="left")
    for column in ("position", "record", "province", "at", "price", "per piece", "what else"):
        table.add_column(column, justify="right" if column in {"price", "per piece"} else "left", overflow="fold")
    for number, item in enumerate(evidence):
        position = "/".join(str(item.position[part]) for part in ("partition", "offset", "line"))
        role = "trigger" if number == 0 else ""
        if isinstance(item.record, Record):
            table.add_row(position, *record_cells(item.record, role))
        elif isinstance(item.record, Reject):
            table.add_row(position, f"a dead letter: {item.record.message}", "", "", "", "", role)
        else:
            table.add_row(position, "the log no longer has it", "", "", "", "", role)
    console.print(table)


def _print_arithmetic(
    event: Event, first: Event, evidence: list[Evidence], policy: Policy | None, console: Console
) -> None:
    records = [item.record for item in evidence if isinstance(item.record, Record)]
    lines = list(arithmetic(event, first, records, policy))
    if policy is None:
        version = event["policy_version"]
        lines.append((f"thresholds of policy {version} are not known here: give its file with --policy", None))
    if lines:
        console.print("\nArithmetic")
    for text, agrees in lines:
        mark = "" if agrees is None else "  [green]✓[/]" if agrees else "  [bold red]✗ the event says otherwise[/]"
        console.print(f"  {text}{mark}", highlight=False, soft_wrap=True)
