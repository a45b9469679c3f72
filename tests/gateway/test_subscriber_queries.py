from typing import Any

import httpx
import orjson
import pytest

from gateway.evidence import Position
from gateway.keys import Owner
from gateway.saved_rows import as_json, read_row
from schemas.policy import Policy, load_policy
from tests.gateway.fakes import Parts, event
from tests.gateway.test_stream import serve
from tests.gateway.test_subscriber_stream import CODE, OURS, THEIRS, foreign, key_of, made
from tests.streams.timeline import DAY, OTHER_CODE, Timeline

OPERATOR = Owner("operator", "desk")


def test_alerts_are_a_suppliers_own_in_pages() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        for number in range(1, 6):
            parts.write(event(number))
            parts.write(foreign(10 + number))
        _, headers = key_of(parts)
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/v1/alerts", params=params, headers=headers)).json()
            found += [alert["alert_id"] for alert in page["alerts"]]
            cursor = page["cursor"]
        assert found == [event(number)["alert_id"] for number in range(1, 6)]
        _, desk = key_of(parts, OPERATOR)
        everything = (await client.get("/v1/alerts", headers=desk)).json()["alerts"]
        assert len(everything) == 10
        assert len((await client.get(f"/v1/alerts?code={CODE}&band=red", headers=desk)).json()["alerts"]) == 10
        assert (await client.get("/v1/alerts?cursor=x", headers=desk)).status_code == 400
        assert (await client.get("/v1/alerts?kind=price_hold", headers=headers)).json()["alerts"] == []

    serve(work, made())


@pytest.mark.parametrize("suffix", ["", "/explain"])
def test_another_suppliers_alert_is_not_there(suffix: str) -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.write(foreign(1))
        parts.write(event(2))
        _, headers = key_of(parts)
        answer = await client.get(f"/v1/alerts/{foreign(1)['alert_id']}{suffix}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_alert")
        assert (await client.get(f"/v1/alerts/{event(2)['alert_id']}{suffix}", headers=headers)).status_code == 200
        assert (
            await client.get(f"/v1/alerts/{event(2)['alert_id']}{suffix}?revision=7", headers=headers)
        ).status_code == 404

    serve(work, made())


def test_an_alert_that_changed_hands_shows_each_owner_its_own_revisions() -> None:
    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.write(event(1) | {"supplier": THEIRS})
        parts.write(event(1, 2))
        _, headers = key_of(parts)
        shown = (await client.get(f"/v1/alerts/{event(1)['alert_id']}", headers=headers)).json()
        assert [each["revision"] for each in shown["history"]] == [2]

    serve(work, made())


def test_evidence_withholds_what_is_another_suppliers() -> None:
    own = {"type": "quote", "province": "320000", "code": CODE, "at": 1, "price": "1200", "supplier": OURS}

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.write(event(1))
        parts.evidence.known = {
            Position(0, 1, 0): orjson.dumps(own).decode(),
            Position(0, 0, 0): orjson.dumps(own | {"supplier": THEIRS, "price": "1000", "province": "370000"}).decode(),
        }
        _, headers = key_of(parts)
        shown = (await client.get(f"/v1/alerts/{event(1)['alert_id']}", headers=headers)).json()
        records = shown["evidence"]["records"]
        assert records[0]["record"]["supplier"] == OURS
        assert records[1] == {"position": {"partition": 0, "offset": 0, "line": 0}, "problem": "withheld"}
        steps = (await client.get(f"/v1/alerts/{event(1)['alert_id']}/explain", headers=headers)).json()
        assert any("2000 bp" in step["text"] and step["agrees"] for step in steps["steps"])
        assert THEIRS not in orjson.dumps([shown, steps]).decode()

    serve(work, made())


def saved(timeline: Timeline) -> dict[bytes, bytes]:
    """Returns the rows that the machine saves now."""
    rows = timeline.machine.checkpoint(timeline.position[0] + 1)
    raw = rows.data.tobytes()
    return {raw[start:middle]: raw[middle:end] for start, middle, end in rows.spans.tolist()}


def quote(province: str, price: str, supplier: str = OURS, **others: Any) -> dict[str, Any]:
    return {"type": "quote", "code": CODE, "province": province, "price": price, "supplier": supplier} | others


@pytest.mark.parametrize(
    "rules", [{}, {"aggregate": "median"}, {"aggregate": "mean_of_lowest", "k": 2}, {"lookback": "rolling"}]
)
def test_references_and_bands_are_those_of_the_alerts(rules: dict[str, Any]) -> None:
    policy = {"default": rules}
    timeline = Timeline(policy)
    timeline.write(quote("370000", "900"), quote("110000", "1000", THEIRS), quote("320000", "1100"))
    opened = list(timeline.alerts)
    timeline.write(
        quote("440000", "1300"), quote("370000", "950"), quote("510000", "2", effective_at=timeline.now + DAY)
    )
    last = {alert["province"]: alert for alert in [*opened, *timeline.alerts] if alert["kind"] == "price_adjustment"}
    rows = saved(timeline)
    loaded = load_policy(orjson.dumps(policy))
    assert isinstance(loaded, Policy)
    row = read_row(rows[CODE.encode()])
    shown = as_json(row, loaded, OURS)
    assert (shown["lowest"], shown["province"], shown["status"]) == ("950.0000", "370000", "active")
    assert shown["rolling_lowest"] == timeline.change_events[-1]["rolling_lowest"]
    provinces = {each["province"]: each for each in shown["provinces"]}
    for province, each in provinces.items():
        alert = last.get(province)
        assert each["band"] == ((alert["band"] or "none") if alert else "none")
        if alert and alert["band"]:
            assert each["reference"] == alert["reference"]["price"]
    assert len([alert for alert in last.values() if alert["band"]]) >= 2
    assert (provinces["110000"]["supplier"], provinces["110000"]["own"]) == (None, False)
    assert (provinces["510000"]["in_force"], provinces["510000"]["waits"], provinces["510000"]["price"]) == (
        False,
        True,
        None,
    )
    assert row.suppliers == {OURS, THEIRS}
    assert row.offset == timeline.position[0]


def test_prices_are_told_to_who_lists_the_code() -> None:
    timeline = Timeline()
    timeline.write(quote("370000", "900"), quote("110000", "1000", "91320000MA1ZZZZZ3C"))
    timeline.write({"type": "item", "code": CODE, "moved_to": OTHER_CODE})
    rows = saved(timeline)

    async def work(parts: Parts, client: httpx.AsyncClient) -> None:
        parts.redis.data["pl:rows"] = {CODE: rows[CODE.encode()]}
        _, headers = key_of(parts)
        parts.redis.data["pl:checkpoints"] = dict.fromkeys((0, 1), rows[b"#partition"])
        shown = (await client.get(f"/v1/prices/{CODE}", headers=headers)).json()
        assert (shown["status"], shown["moved_to"], shown["lowest"]) == ("moved", OTHER_CODE, None)
        assert shown["checked_to"] == shown["as_of"]["offset"] + 1 == 2
        assert [each["supplier"] for each in shown["provinces"]] == [None, OURS]
        for owner, wanted in ((Owner("supplier", THEIRS), 404), (OPERATOR, 200)):
            assert (await client.get(f"/v1/prices/{CODE}", headers=key_of(parts, owner)[1])).status_code == wanted
        for code in (OTHER_CODE, "nonsense"):
            assert (await client.get(f"/v1/prices/{code}", headers=headers)).status_code == 404
        parts.redis.data["pl:rows"] = {CODE: b"\x01" + rows[CODE.encode()][1:]}
        assert (await client.get(f"/v1/prices/{CODE}", headers=headers)).status_code == 404
        parts.redis.away = True
        assert (await client.get(f"/v1/prices/{CODE}", headers=headers)).status_code == 503

    serve(work, made())
