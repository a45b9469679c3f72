"""Kafka with SCRAM, TLS and an authorizer; Redis and gateway with TLS: each role does its work, and nothing else."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import aiokafka.conn
import httpx
import orjson
import pytest
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

from agents import acls
from agents.embedded import free_port
from agents.exits import ConfigFault, InfrastructureFault, code_of
from agents.preflight import check_kafka, check_redis
from config.acls import GROUPS, PEOPLE, PROCESSES, ROLES, Right
from config.settings import Settings
from config.topics import FEEDS, TOPICS
from tests.gateway.test_subscriber_stream import OURS, THEIRS
from tests.kafka.secured import ADMIN, HOST, SECRETS, Certificates, Place, SecuredKafka, SecuredRedis
from tests.kafka.test_suppliers import CHEAP, DEAR, Receiver, answers, put, quote, serve_hook, tokens, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PRINCIPALS: Final = {role: f"pricelink-{role}" for role in PROCESSES} | {role: f"some-{role}" for role in PEOPLE}
FOREIGN: Final = f"events.{THEIRS}"
PATIENCE_S: Final = 60.0
DENIED: Final = {29, 30}
"""Kafka's codes: not authorized to a topic, to a group."""


@pytest.fixture(autouse=True)
def on_kafka() -> None:
    """These tests have a broker of their own."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The broker, with a password for every role, and rights as the commands give them."""
    folder = tmp_path_factory.mktemp("secured")
    certificates = Certificates.make(folder)
    with SecuredRedis(folder, certificates) as redis, SecuredKafka(folder / "kafka", certificates) as kafka:
        found = Place(folder, certificates, kafka, redis)
        admin = found.variables(ADMIN, "admin")
        grants = " ".join(f"--grant {role}={PRINCIPALS[role]}" for role in PEOPLE)
        code, said = found.run(f"topics apply --acls {grants} --grant supplier={THEIRS}", admin)
        assert code == 0, said
        assert f"{PRINCIPALS['worker']}  worker  " in said
        code, said = found.run(f"principals set-password pricelink-worker --file {folder}/roles.password", admin)
        assert code == 0, said
        for role in set(ROLES) - {"worker"}:
            acls.set_password(found.settings(ADMIN, "admin"), PRINCIPALS[role], SECRETS["roles"])
        yield found
        found.stop()


def test_the_pipeline_works_and_each_process_has_its_least_rights(place: Place) -> None:
    port, metrics = free_port(), {role: free_port() for role in PROCESSES}
    started = {}
    for role in PROCESSES:
        more: dict[str, object] = {
            "metrics_port": metrics[role],
            "webhooks_allow_http": 1,
            "webhooks_allowed_networks": "127.0.0.0/8",
        }
        if role == "gateway":
            good = place.certificates.good
            more |= {"gateway_port": port, "gateway_cert_file": good, "gateway_key_file": good}
        if role == "copier":
            more["copies"] = f"{PRINCIPALS['supplier']}={OURS}"
        started[role] = place.start(role, place.variables(PRINCIPALS[role], "roles", **more))
    try:
        asyncio.run(records_become_events(place, port, metrics))
        ended = {role: process.poll() for role, process in started.items()}
    finally:
        for process in started.values():
            process.terminate()
    assert ended == dict.fromkeys(started)
    assert {role: process.wait(15) for role, process in started.items()} == dict.fromkeys(started, 0)
    said = b"".join(log.read_bytes() for log in place.logs)
    assert b"uthorization" not in said, [line for line in said.splitlines() if b"uthorization" in line]


async def records_become_events(place: Place, port: int, metrics: dict[str, int]) -> None:
    """A province's records over HTTPS become a supplier's alert by webhook."""
    headers = await tokens(place.settings(PRINCIPALS["operator"]))
    trusted = ssl.create_default_context(cafile=place.certificates.ca)
    receiver = Receiver()
    hook = await serve_hook(receiver.hook)
    async with httpx.AsyncClient(
        base_url=f"https://{HOST}:{port}", timeout=30, trust_env=False, verify=trusted
    ) as client:
        await until(lambda: answers(client, "/readyz", {}))
        async with httpx.AsyncClient(trust_env=False) as plain:
            assert not await answers(plain, f"http://{HOST}:{port}/healthz", {})
        await until(lambda: answers(client, "/v1/webhooks", headers[OURS]))
        made = await client.post("/v1/webhooks", json={"url": f"http://{HOST}:{hook}/hook"}, headers=headers[OURS])
        assert made.status_code == 201, made.text
        receiver.secret = made.json()["secret"]
        await put(client, headers[DEAR], quote(1, DEAR, OURS, 12))
        await put(client, headers[CHEAP], quote(1, CHEAP, THEIRS, 10))
        foreign = await client.post(
            f"/v1/feeds/{DEAR}/records", content=orjson.dumps(quote(2, CHEAP, OURS, 9)),
            headers=headers[DEAR] | {"Content-Type": "application/x-ndjson"},
        )  # fmt: skip
        assert "other_province" in foreign.text

        async def alerted() -> bool:
            return f"price_adjustment:C{1:026}:{DEAR}:1/1" in {each["event_id"] for each in receiver.got}

        await until(alerted)

        async def listed() -> bool:
            answer = await client.get(f"/v1/prices/C{1:026}", headers=headers[OURS])
            return answer.status_code == 200

        await until(listed)  # through the listings' view in Redis
    assert receiver.unverified == 0
    async with httpx.AsyncClient(trust_env=False) as client:
        for role, number in metrics.items():
            await until(partial(answers, client, f"http://{HOST}:{number}/readyz", {}))
            assert (await client.get(f"http://{HOST}:{number}/readyz")).status_code == 200, role

        async def copied() -> bool:
            page = (await client.get(f"http://{HOST}:{metrics['copier']}/metrics")).text
            return f'pricelink_copied_total{{topic="events.{PRINCIPALS["supplier"]}"}} 0.0' not in page

        await until(copied)
        sizes = (await client.get(f"http://{HOST}:{metrics['listings']}/metrics")).text
        assert 'pricelink_topic_bytes{topic="feeds"}' in sizes


def batch() -> bytes:
    """A batch of one record that every topic takes, and nothing of ours can read."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 10_000)
    builder.append(0, timestamp=time.time_ns() // 1_000_000, key=b"matrix", value=b"matrix", headers=[])
    return bytes(builder.build())


class Login:
    """A connection of a principal that asks the broker straight, whatever its metadata would show."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None

    async def __aenter__(self) -> "Login":
        self._connection = await aiokafka.conn.create_conn(
            HOST, int(self._settings.bootstrap.rpartition(":")[2]), **self._settings.security
        )
        return self

    async def __aexit__(self, *_fault: object) -> None:
        self._connection.close()

    async def reads(self, topic: str) -> bool:
        answer = await self._connection.send(FetchRequest(0, 1, 10_000, 0, [(topic, [(0, 0, 10_000)])]))
        return self._allowed(answer.topics[0][1][0][1])

    async def writes(self, topic: str) -> bool:
        answer = await self._connection.send(ProduceRequest(None, -1, 5_000, [(topic, [(0, batch())])]))
        return self._allowed(answer.topics[0][1][0][1])

    async def commits(self, group: str, topics: Sequence[str]) -> bool:
        """Whether it may move a group's place in a topic: in each of those that it reads."""
        ask = OffsetCommitRequest(group, -1, "", -1, [(topic, [(0, 0, "")]) for topic in topics])
        answer = await self._connection.send(ask)
        return any(self._allowed(partition[1]) for _, partitions in answer.topics for partition in partitions)

    @staticmethod
    def _allowed(code: int) -> bool:
        # 25, 79: unknown member, a group that is in use: only who may use the group is told so.
        assert code in DENIED | {0, 25, 79}, code
        return code not in DENIED


async def rights_of(settings: Settings, topics: Sequence[str], groups: Sequence[str]) -> set[tuple[str, str]]:
    async with Login(settings) as login:
        found = {("READ", topic) for topic in topics if await login.reads(topic)}
        found |= {("WRITE", topic) for topic in topics if await login.writes(topic)}
        return found | {("GROUP", group) for group in groups if await login.commits(group, topics)}


def declared(role: str, settings: Settings, topics: Sequence[str], groups: Sequence[str]) -> set[tuple[str, str]]:
    rights = [right.of(PRINCIPALS[role], settings) for right in ROLES[role]]
    found: set[tuple[str, str]] = set()
    for right in rights:
        names = {"TOPIC": topics, "GROUP": groups, "CLUSTER": ()}[right.resource]
        for name in names:
            if name == right.name or (right.prefixed and name.startswith(right.name)):
                found |= {(operation, name) for operation in right.operations}
    reads = any(kind == "READ" for kind, name in found if name in topics)
    found = {("GROUP", name) if name in groups else (kind, name) for kind, name in found if kind != "DESCRIBE"}
    return {each for each in found if each[0] != "GROUP" or reads}


def test_acl_matrix(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Every role × every topic × read and write, every group, and what changes the cluster: as declared, no more."""
    own = f"events.{PRINCIPALS['supplier']}"
    topics = [*(topic.name for topic in TOPICS), own, FOREIGN]
    plain = Settings()
    groups = [
        *(getattr(plain, name) for name in GROUPS),
        *(f"{PRINCIPALS[role]}-group" for role in ("supplier", "observer")),
    ]
    foreign: dict[str, set[tuple[str, str]]] = {}
    lacking: dict[str, set[tuple[str, str]]] = {}
    for role, principal in PRINCIPALS.items():
        settings = place.settings(principal)
        found = asyncio.run(rights_of(settings, topics, groups))
        wanted = declared(role, settings, topics, groups)
        foreign[role], lacking[role] = found - wanted, wanted - found
        assert role == "operator" or not changes_the_cluster(settings)
    with capsys.disabled():
        asked = len(PRINCIPALS) * (2 * len(topics) + len(groups))
        print(
            f"\nACL matrix: {asked} attempts of {len(PRINCIPALS)} roles, {sum(map(len, foreign.values()))} foreign ones allowed"
        )
    assert foreign == {key: set() for key in PRINCIPALS}
    assert lacking == {key: set() for key in PRINCIPALS}
    # What was said in words, by name:
    supplier = declared("supplier", place.settings("some-supplier"), topics, groups)
    assert {name for kind, name in supplier if kind in {"READ", "WRITE"}} == {own}
    assert declared("province", place.settings("some-province"), topics, groups) == {("WRITE", FEEDS.name)}


def changes_the_cluster(settings: Settings) -> bool:
    """Tries to make a topic, to delete one, and to give itself rights; tells whether any of it was let through."""
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap, **settings.security)
    everything = acls._acls(f"User:{settings.sasl_username}", Right("CLUSTER", "kafka-cluster", ("CREATE",)))
    attempts: list[Callable[[], Any]] = [
        lambda: admin.create_topics([NewTopic("another", 1, 1)], validate_only=True),
        lambda: admin.delete_topics([FEEDS.name]),
        lambda: admin.create_acls(list(everything))["succeeded"],
    ]
    through = False
    try:
        for attempt in attempts:
            with contextlib.suppress(ClusterAuthorizationFailedError, TopicAuthorizationFailedError):
                through |= bool(attempt())
    finally:
        admin.close()
    return through


def test_rights_that_a_role_has_no_more_are_taken_away(place: Place) -> None:
    settings = place.settings(ADMIN, "admin")
    given = acls.apply(settings, [("observer", "guest"), ("province", "guest")])
    assert (given[0].rights, given[0].added, given[0].removed) == (4, 4, 0)
    given = acls.apply(settings, [("province", "guest")])
    assert (given[0].rights, given[0].added, given[0].removed) == (1, 0, 3)
    given = acls.apply(settings, [], ["guest"])
    assert (given[0].rights, given[0].added, given[0].removed) == (0, 0, 1)


@pytest.mark.parametrize("name", ["*", "pricelink", "a b", ""])
def test_a_name_that_would_give_more_is_refused(place: Place, name: str) -> None:
    with pytest.raises(ConfigFault, match=r"no name of a principal|cannot be a principal's name"):
        acls.apply(place.settings(ADMIN, "admin"), [("observer", name)])


FAULTS: Final[dict[str, tuple[dict[str, Any], int, tuple[str, ...]]]] = {
    "wrong password": (
        {"secret": "wrong"}, 78,
        ("does not let pricelink-clock in: wrong user or password", "PRICELINK_SASL_PASSWORD_FILE"),
    ),
    "unknown CA": (
        {"ssl_ca_file": "stranger.pem"}, 78, ("authority we do not know", "PRICELINK_SSL_CA_FILE must name", "stranger.pem"),
    ),
    "system CAs": ({"ssl_ca_file": None}, 78, ("authority we do not know", "not set")),
    "no such file": ({"ssl_ca_file": "nowhere.pem"}, 78, ("PRICELINK_SSL_CA_FILE", "No such file")),
    "expired certificate": (
        {"bootstrap": "expired"}, 74, ("whose time is not now (certificate has expired)", "renew it there"),
    ),
    "other mechanism": ({"sasl_mechanism": "SCRAM-SHA-256"}, 78, ("does not know PRICELINK_SASL_MECHANISM=SCRAM-SHA-256",)),
    "no password file": (
        {"sasl_password_file": "nowhere.password"}, 78, ("PRICELINK_SASL_PASSWORD_FILE", "nowhere.password", "No such file"),
    ),
    "no rights": ({"principal": "some-observer"}, 78, ("lacks a right in Kafka", "pricelink topics apply --acls")),
}  # fmt: skip


def variables(place: Place, options: dict[str, Any]) -> dict[str, str]:
    found = {"principal": "pricelink-clock", **options}
    bootstraps = {"expired": place.kafka.expired_bootstrap}
    if "bootstrap" in found:
        found["bootstrap"] = bootstraps[found["bootstrap"]]
    for name in ("ssl_ca_file", "sasl_password_file"):
        if found.get(name):
            found[name] = place.folder / found[name]
    made = place.variables(**found)
    return {name: value for name, value in made.items() if value != "None"}


STARTED: Final = ("wrong password", "expired certificate", "no password file", "no rights")
"""Looked at in a process; the others in the check that it makes."""


@pytest.fixture(scope="module")
def ends(place: Place) -> dict[str, tuple[int, str]]:
    """Exit code, and what was said, for each fault; processes run beside each other."""
    started = {fault: (place.start("clock", variables(place, FAULTS[fault][0])), place.logs[-1]) for fault in STARTED}
    found = {}
    for fault in FAULTS.keys() - STARTED:
        given = {name[10:].lower(): text for name, text in variables(place, FAULTS[fault][0]).items()}
        with pytest.raises((ConfigFault, InfrastructureFault)) as raised:
            check_kafka(Settings.model_validate(given))
        found[fault] = code_of(raised.value), str(raised.value)
    return found | {fault: (process.wait(PATIENCE_S), log.read_text()) for fault, (process, log) in started.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_security_is_a_sentence_and_an_exit_code(ends: dict[str, tuple[int, str]], fault: str) -> None:
    _, wanted, words = FAULTS[fault]
    code, said = ends[fault]
    assert code == wanted, said
    for word in words:
        assert word in said
    assert fault == "no rights" or "Traceback" not in said


def test_commands_say_the_same(place: Place) -> None:
    code, said = place.run("keys list", place.variables("some-operator", "wrong"))
    assert code == 78
    assert "does not let some-operator in" in said
    assert "Traceback" not in said
    code, said = place.run("topics apply --acls --grant observer=new", place.variables("some-operator"))
    assert code == 78, said
    assert "super.users" in said


def test_redis_and_its_certificate(place: Place) -> None:
    check_redis(place.settings(ADMIN))
    (place.folder / "wrong-redis").write_text(SECRETS["wrong"])
    code, said = place.run(
        "read-model", place.variables("pricelink-read-model", redis_password_file=place.folder / "wrong-redis")
    )
    assert (code, "PRICELINK_REDIS_PASSWORD_FILE" in said) == (78, True), said
    with pytest.raises(ConfigFault, match="PRICELINK_REDIS_CA_FILE must name"):
        check_redis(place.settings(ADMIN, redis_ca_file=place.certificates.stranger))


def test_a_password_is_changed_and_a_principal_sent_away(place: Place) -> None:
    settings = place.settings(ADMIN, "admin")
    acls.set_password(settings, "rotating", SECRETS["roles"])
    check_kafka(place.settings("rotating"))
    acls.set_password(settings, "rotating", SECRETS["wrong"])
    check_kafka(place.settings("rotating", "wrong"))
    with pytest.raises(ConfigFault, match="wrong user or password"):
        check_kafka(place.settings("rotating"))
    acls.remove(settings, "rotating")
    with pytest.raises(ConfigFault, match="wrong user or password"):
        check_kafka(place.settings("rotating", "wrong"))


def test_no_secret_is_in_any_log(place: Place) -> None:
    """After all of the above, and processes that end with a traceback, in both formats of logs."""
    for form in ("json", "console"):
        nowhere = place.variables(
            "pricelink-worker", bootstrap=f"{HOST}:{free_port()}", log_format=form, log_level="debug"
        )
        code, said = place.run("worker", nowhere)
        assert code == 74, said
        assert "KafkaConnectionError" in said
    code, said = place.run(
        "worker", nowhere | {"PRICELINK_PARTITIONS": "many", "PRICELINK_REDIS_PASSWORD": SECRETS["redis"]}
    )
    assert (code, "PRICELINK_PARTITIONS" in said) == (78, True), said
    logged = b"".join(log.read_bytes() for log in place.logs)
    assert len(place.logs) >= 15
    assert [name for name, secret in SECRETS.items() if secret.encode() in logged] == []
    settings = place.settings(ADMIN, "admin")
    assert [secret for secret in SECRETS.values() if secret in f"{settings!r} {settings}"] == []
    assert SECRETS["redis"] in settings.redis_url  # it was there to be told
