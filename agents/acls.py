"""Gives principals in Kafka exactly the rights that ``config.acls`` declares for their roles, and sets their passwords."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import kafka.errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from agents.exits import ConfigFault
from agents.topics import NAME, create
from config.acls import GROUPS, PROCESSES, ROLES, Right
from config.settings import Settings
from config.topics import events_of

_ANY_HOST: Final = "*"
_ITERATIONS: Final = 8192

Grant = tuple[str, str]
"""A role, and the name of a principal, without ``User:``."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What was done for a principal: how many rights it has, and how many of them are new, or were taken away."""

    principal: str
    roles: tuple[str, ...]
    rights: int
    added: int
    removed: int


def process_grants(prefix: str) -> list[Grant]:
    """Returns the grants of our processes, whose principals are named by their role."""
    return [(role, prefix + role) for role in PROCESSES]


def apply(settings: Settings, grants: Iterable[Grant], revoked: Iterable[str] = ()) -> list[Granted]:
    """Gives each principal that is named exactly the rights of its roles; takes all from those of ``revoked``.

    Makes the topics of suppliers that are missing. Raises ConfigFault where the broker has no authorizer or we may not.
    """
    roles: defaultdict[str, list[str]] = defaultdict(list)
    for role, principal in grants:
        roles[principal].append(role)
    for principal in revoked:
        roles[principal] = []
    for principal in roles:
        _check_name(principal, settings)
    admin = _admin(settings)
    try:
        _make_topics(admin, settings, [name for name, its in roles.items() if "supplier" in its])
        return [_set(admin, settings, principal, tuple(its)) for principal, its in roles.items()]
    except (kafka.errors.SecurityDisabledError, kafka.errors.ClusterAuthorizationFailedError) as fault:
        raise ConfigFault(
            f"Kafka at {settings.bootstrap} sets no ACLs for {settings.sasl_username or 'us'} ({type(fault).__name__}): it "
            "must have an authorizer.class.name, and we must be one of its super.users"
        ) from fault
    finally:
        admin.close()


def set_password(settings: Settings, principal: str, password: str) -> None:
    """Makes the principal, or gives it another password; connections that are open stay. Raises ConfigFault."""
    mechanism = settings.sasl_mechanism.replace("-", "_")
    if mechanism not in ScramMechanism.__members__:
        raise ConfigFault(
            f"passwords of PRICELINK_SASL_MECHANISM={settings.sasl_mechanism} are in the broker's own file"
        )
    _check_name(principal, settings)
    _alter(
        settings,
        UserScramCredentialUpsertion(principal, ScramMechanism[mechanism], password, iterations=_ITERATIONS),
    )


def remove(settings: Settings, principal: str) -> None:
    """Lets the principal in no more; raises ConfigFault."""
    _alter(settings, UserScramCredentialDeletion(principal, ScramMechanism[settings.sasl_mechanism.replace("-", "_")]))


def _alter(settings: Settings, alteration: Any) -> None:
    admin = _admin(settings)
    try:
        problem = admin.alter_user_scram_credentials([alteration])[alteration.user]
    except kafka.errors.ClusterAuthorizationFailedError as fault:
        problem = f"{settings.sasl_username or 'we'} may not: {type(fault).__name__}"
    finally:
        admin.close()
    if problem:
        raise ConfigFault(f"Kafka at {settings.bootstrap} did not change {alteration.user}: {problem}")


def _admin(settings: Settings) -> Any:
    return KafkaAdminClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id="pricelink-acls", **settings.security
    )


def _check_name(principal: str, settings: Settings) -> None:
    """Raises ConfigFault where a name would give more than its role: ``*`` is everybody, and groups go by prefix."""
    if not NAME.fullmatch(principal):
        raise ConfigFault(f"{principal!r} is no name of a principal: letters, digits, '.', '_' and '-'")
    if any(getattr(settings, group).startswith(f"{principal}-") for group in GROUPS):
        raise ConfigFault(f"{principal} cannot be a principal's name: groups that begin so are our own processes'")


def _make_topics(admin: Any, settings: Settings, suppliers: Iterable[str]) -> None:
    there = set(admin.list_topics())
    for topic in map(events_of, suppliers):
        if topic.name not in there:
            create(admin, topic, settings)


def _set(admin: Any, settings: Settings, principal: str, roles: tuple[str, ...]) -> Granted:
    user = f"User:{principal}"
    wanted = {acl for role in roles for right in ROLES[role] for acl in _acls(user, right.of(principal, settings))}
    found, _ = admin.describe_acls(_all_of(user))
    there = set(found)
    if missing := sorted(wanted - there, key=repr):
        failed = admin.create_acls(missing)["failed"]
        if failed:
            raise failed[0]
    surplus = sorted(there - wanted, key=repr)
    if surplus:
        for _, _, error in admin.delete_acls([_exactly(acl) for acl in surplus]):
            if error is not kafka.errors.NoError:
                raise error
    return Granted(principal, roles, len(wanted), len(missing), len(surplus))


def _acls(user: str, right: Right) -> Iterable[Any]:
    pattern = ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL
    resource = ResourcePattern(ResourceType[right.resource], right.name, pattern)
    for operation in right.operations:
        yield ACL(user, _ANY_HOST, ACLOperation[operation], ACLPermissionType.ALLOW, resource)


def _all_of(user: str) -> Any:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    return ACLFilter(user, None, ACLOperation.ANY, ACLPermissionType.ANY, anything)


def _exactly(acl: Any) -> Any:
    at = acl.resource_pattern
    resource = ResourcePatternFilter(at.resource_type, at.resource_name, at.pattern_type)
    return ACLFilter(acl.principal, acl.host, acl.operation, acl.permission_type, resource)
