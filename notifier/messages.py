"""What is sent: an event as a CloudEvent in JSON, signed as Standard Webhooks says. Pure."""

import base64
import hashlib
import hmac
from typing import Final

import orjson

from gateway.endpoints import SECRET_PREFIX
from gateway.filters import PRICE_CHANGED
from schemas.events import read_event

CONTENT_TYPE: Final = "application/cloudevents+json"


def message_id(endpoint_id: str, event_id: str) -> str:
    """Returns the id of an event's message to an endpoint: the same whenever it is sent again."""
    return "msg_" + hashlib.sha256(f"{endpoint_id}\n{event_id}".encode()).hexdigest()[:32]


def cloud_event(value: bytes) -> tuple[str, bytes]:
    """Returns an event's id, and it as a CloudEvent whose ``data`` is the event byte for byte.

    Raises ValueError, LookupError for what is no event.
    """
    event = read_event(value)
    head = {
        "specversion": "1.0",
        "id": event["event_id"],
        "source": "pricelink",
        "type": f"{event['kind']}.{event['change']}" if "alert_id" in event else PRICE_CHANGED,
        "time": event["at"],
        "datacontenttype": "application/json",
    }
    if event.get("code"):
        head["subject"] = event["code"]
    return head["id"], orjson.dumps(head)[:-1] + b',"data":' + value + b"}"


def headers_of(message: str, body: bytes, secrets: list[str], now_s: int) -> dict[str, str]:
    """Returns the headers of a message: its id, the time of this attempt, and a signature by each secret."""
    signed = f"{message}.{now_s}.".encode() + body
    return {
        "webhook-id": message,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
        "content-type": CONTENT_TYPE,
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
