"""`pricelink policy`: a policy file as the record that makes it hold, in every partition (SPEC §3)."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import orjson
import typer

from cli.options import KafkaOption, fail, say, settings_of

policy_app = typer.Typer(help="The policy that holds.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A whole policy (docs/spec.md §3).")]


@policy_app.command("apply")
def apply(file: FileArgument, kafka: KafkaOption = "localhost:9092") -> None:
    """Write a policy record to every partition of feeds: from there on it holds, for good, whatever the files say."""
    from cli.feed import FeedFault, Report, Summary, send
    from cli.log_file import LogFault

    rejected: Counter[str] = Counter()
    summary = Summary(reasons=rejected)
    try:
        line, version = record_of(file, time.time_ns() // 1_000_000)
        chosen = settings_of(kafka, embedded=False)
        asyncio.run(send(chosen, iter([([1], [line])]), Report(say, None, rejected), summary))
    except (FeedFault, LogFault) as fault:
        raise fail(str(fault)) from fault
    if not summary.accepted:
        raise fail(f"{file} was not taken")
    say(f"policy {version} is in {summary.messages} partitions; `pricelink status` shows when workers have it")


@policy_app.command("version")
def version_of(file: FileArgument) -> None:
    """Print a policy file's version, which events carry and `pricelink status` shows; exit code 2 if it is unfit."""
    from cli.log_file import LogFault
    from cli.replay import read_policy

    try:
        typer.echo(read_policy(file).version)
    except LogFault as fault:
        raise fail(str(fault)) from fault


def record_of(file: Path, at_ms: int) -> tuple[bytes, str]:
    """Returns the record's line, and the policy's version; raises LogFault saying what is unfit in the file."""
    from cli.replay import read_policy

    policy = read_policy(file)
    return orjson.dumps({"type": "policy", "at": at_ms, "policy": orjson.Fragment(policy.canonical)}), policy.version
