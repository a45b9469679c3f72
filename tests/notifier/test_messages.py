import base64
import time

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.endpoints import Endpoint, Secret, new_secret, with_new_secret
from notifier.messages import cloud_event, headers_of, message_id
from tests.gateway.fakes import event
from tests.gateway.test_subscriber_stream import change


@pytest.mark.parametrize(
    ("happened", "kind"), [(event(1), "price_adjustment.opened"), (change(3), "price.lowest.changed")]
)
def test_an_event_is_a_cloud_event_with_the_same_bytes(happened: dict[str, object], kind: str) -> None:
    value = orjson.dumps(happened)
    event_id, body = cloud_event(value)
    sent = orjson.loads(body)
    assert (sent["specversion"], sent["source"], sent["type"], sent["id"]) == ("1.0", "pricelink", kind, event_id)
    assert (sent["subject"], sent["time"]) == (happened["code"], happened["at"])
    assert body.endswith(b',"data":' + value + b"}")


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"event_id":"x","alert_id":"y"}'])
def test_what_is_no_event_is_told(value: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        cloud_event(value)


def test_the_official_library_verifies_our_signatures() -> None:
    old, new = new_secret(), new_secret()
    _, body = cloud_event(orjson.dumps(event(1) | {"institution": "省立医院"}))
    headers = headers_of(message_id("ep_1", "e/1"), body, [new, old], int(time.time()))
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers)["type"] == "price_adjustment.opened"
    stale = headers_of("m", body, [new], int(time.time()) - 600)
    for secret, sent, wrong in [
        (new_secret(), body, headers),
        (new, body + b" ", headers),
        (new, body, headers | {"webhook-id": "msg_other"}),
        (new, body, stale),
    ]:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(sent, wrong)


def test_a_message_keeps_its_id_and_endpoints_do_not_share_it() -> None:
    assert message_id("ep_1", "e/1") == message_id("ep_1", "e/1")
    assert len({message_id("ep_1", "e/1"), message_id("ep_2", "e/1"), message_id("ep_1", "e/2")}) == 3
    assert message_id("ep_1", "订单/1").isascii()


def test_a_secret_is_rotated_with_a_day_of_both() -> None:
    first = new_secret()
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32
    endpoint = Endpoint("ep_1", "s", "https://x", "", (), (), (), (Secret(first),), True, 0, 0)
    rotated = with_new_secret(endpoint, 1_000)
    assert rotated.signing_secrets(2_000) == [rotated.secrets[0].value, first]
    assert rotated.signing_secrets(1_000 + 86_400_000) == [rotated.secrets[0].value]
    for _ in range(5):
        rotated = with_new_secret(rotated, 2_000)
    assert len(rotated.secrets) == 3
    assert Endpoint.from_bytes(rotated.to_bytes()) == rotated
