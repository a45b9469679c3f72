"""docs/asyncapi.yaml against what the code says and what the machine wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from config.topics import ALERTS, FEEDS, PRICE_CHANGES
from notifier.messages import cloud_event, headers_of, message_id
from schemas.columns import CHANGES, KINDS, RECORD_TYPES
from streams.layout import RULE_WORDS
from tests.gateway.fakes import event
from tests.gateway.test_subscriber_stream import change

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text("utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}"} | {"components": DOCUMENT["components"]})


def golden(file: str) -> Iterator[bytes]:
    for path in sorted((ROOT / "tests" / "golden").rglob(file)):
        yield from path.read_bytes().splitlines()


@pytest.mark.parametrize(("name", "file"), [("alert", "alerts.ndjson"), ("priceChange", "price-changes.ndjson")])
def test_what_the_machine_writes_fits(name: str, file: str) -> None:
    fits = validator(name)
    lines = list(golden(file))
    assert len(lines) > 50
    for line in lines[:3_000]:
        fits.validate(orjson.loads(line))


@pytest.mark.parametrize("happened", [event(1), change(1)])
def test_webhooks_fit(happened: dict[str, Any]) -> None:
    event_id, body = cloud_event(orjson.dumps(happened))
    validator("cloudEvent").validate(orjson.loads(body))
    headers = headers_of(message_id("ep_1", event_id), body, ["whsec_AAAA"], 1)
    Draft202012Validator(DOCUMENT["components"]["messages"]["webhook"]["headers"]).validate(headers)


def test_words_and_topics_are_those_of_the_code() -> None:
    alert = SCHEMAS["alert"]["properties"]
    assert set(alert["kind"]["enum"]) == set(KINDS)
    assert set(alert["change"]["enum"]) == set(CHANGES)
    assert set(alert["reference"]["properties"]["rule"]["enum"]) == set(RULE_WORDS)
    topics = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert {FEEDS.name, ALERTS.name, PRICE_CHANGES.name} <= topics
    files = [each["$ref"] for each in SCHEMAS["record"]["oneOf"]]
    assert len(files) == len(RECORD_TYPES)
    assert all((ROOT / "docs" / file).is_file() for file in files)
    assert validator("record")
