"""Commands around who may do what in Kafka: topics with their ACLs, principals and their passwords."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import KafkaOption, fail, say, settings_of

if TYPE_CHECKING:
    from agents.acls import Granted
    from config.settings import Settings

topics_app = typer.Typer(help="The topics in Kafka, and who may use them.", no_args_is_help=True)
principals_app = typer.Typer(help="Who may log in at Kafka, and with which rights.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The principal's name, without User:.")]


@topics_app.command("apply")
def topics_apply(
    acls: Annotated[
        bool, typer.Option("--acls", help="Give each process's principal, and those of --grant, exactly their rights.")
    ] = False,
    grant: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="With --acls: this principal has this role; may be given again."),
    ] = None,
    revoke: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --acls: take all rights away; may be given again.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="With --acls: the processes' principals are named so, and then by their role.")
    ] = "pricelink-",
    kafka: KafkaOption = "localhost:9092",
) -> None:
    """Create the topics that are missing; fail where one has another number of partitions."""
    from kafka.errors import KafkaError

    from agents.topics import WrongPartitions
    from agents.topics import apply as apply_topics
    from config.settings import settings

    if (grant or revoke) and not acls:
        raise fail("--grant and --revoke go with --acls")
    grants = _grants(grant or ())
    chosen = settings_of(kafka, embedded=settings().embedded)
    try:
        applied = apply_topics(chosen)
        granted = _apply_acls(chosen, prefix, grants, revoke or ()) if acls else []
    except WrongPartitions as error:
        raise fail(str(error)) from error
    except (KafkaError, OSError) as error:
        raise fail(f"no Kafka answers at {chosen.bootstrap}: {error}") from error
    for topic in applied:
        typer.echo(f"{'created' if topic.created else 'there   '}  {topic.topic}  {topic.partitions} partitions")
    for each in granted:
        roles = " and ".join(each.roles) or "no role"
        typer.echo(f"{each.principal}  {roles}  {each.rights} rights, {each.added} new, {each.removed} taken away")


def _grants(texts: "list[str] | tuple[str, ...]") -> list[tuple[str, str]]:
    from config.acls import ROLES

    grants = []
    for text in texts:
        role, _, name = text.partition("=")
        if role not in ROLES or not name:
            raise fail(f"--grant {text}: write ROLE=NAME, with a role of {', '.join(ROLES)}")
        grants.append((role, name))
    return grants


def _apply_acls(
    chosen: "Settings", prefix: str, grants: list[tuple[str, str]], revoked: "list[str] | tuple[str, ...]"
) -> "list[Granted]":
    from agents.acls import apply as apply_acls
    from agents.acls import process_grants

    return apply_acls(chosen, [*process_grants(prefix), *grants], revoked)


@principals_app.command("roles")
def principals_roles() -> None:
    """Show which rights each role has; NAME stands for the principal's own."""
    from config.acls import ROLES
    from config.settings import settings

    for role, rights in ROLES.items():
        for right in (each.of("NAME", settings()) for each in rights):
            name = right.name + ("*" if right.prefixed else "")
            typer.echo(f"{role:<11}  {right.resource.lower():<7}  {name:<29}  {' '.join(right.operations).lower()}")


@principals_app.command("set-password")
def principals_set_password(
    name: NameArgument,
    file: Annotated[Path, typer.Option(help="File with the password.", exists=True, dir_okay=False)],
) -> None:
    """Let a principal in at Kafka, with this password from now on; connections that are open stay."""
    from agents.acls import set_password
    from config.settings import settings

    password = file.read_text(encoding="utf-8").strip()
    if not password:
        raise fail(f"{file} is empty")
    set_password(settings_of(settings().bootstrap, embedded=False), name, password)
    say(f"{name} has the password of {file}")


@principals_app.command("remove")
def principals_remove(name: NameArgument) -> None:
    """Let a principal in no more; `topics apply --acls --revoke` takes its rights away."""
    from agents.acls import remove
    from config.settings import settings

    remove(settings_of(settings().bootstrap, embedded=False), name)
    say(f"{name} is not let in any more")
