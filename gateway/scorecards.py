"""The pages of scorecards: who is worst, and the alerts behind each number; the same as JSON under ``/api``."""

from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from config.provinces import PROVINCES
from gateway.cards import CARDS_SHOWN, RANKINGS, Card, Cards
from gateway.pages import LANGUAGES, WORDS, static_version, templates
from gateway.problems import Problem, redis_away
from gateway.read_model import REDIS_FAULTS
from gateway.sources import sources_of
from gateway.summary import without_password
from schemas.columns import BANDS, KINDS

router = APIRouter()

Dimension = Literal["supplier", "institution", "province"]
Kind = Annotated[str | None, Query(pattern=f"^({'|'.join(KINDS)})$")]
Band = Annotated[str | None, Query(pattern="^(blue|yellow|red)$")]
WORST_FIRST: Final = tuple(reversed(BANDS[1:]))
ROWS_SHOWN: Final = 12
SHANGHAI: Final = timezone(timedelta(hours=8))
_NAMES: Final = {
    "zh": {province.code: province.name_zh for province in PROVINCES},
    "en": {province.code: province.name_en for province in PROVINCES},
}

Result = TypeVar("Result")


@router.get("/api/scorecards")
async def ranking(
    request: Request,
    dimension: Dimension,
    by: str | None = None,
    limit: Annotated[int, Query(ge=1, le=CARDS_SHOWN)] = 50,
) -> dict[str, Any]:
    """Returns the worst cards. ``by``: a measure of ``gateway.cards.RANKINGS``; by default the usual one."""
    measure = by or RANKINGS[dimension][0]
    if measure not in RANKINGS[dimension]:
        raise Problem(
            400, "bad_measure", f"there is no measure {measure[:40]}", "by", f"Use {', '.join(RANKINGS[dimension])}."
        )
    return {
        "dimension": dimension,
        "by": measure,
        "cards": await _asked(request, _cards(request).ranking(dimension, measure, limit)),
    }


@router.get("/api/scorecards/{dimension}/{key:path}")
async def card(
    request: Request, dimension: Dimension, key: str, kind: Kind = None, band: Band = None
) -> dict[str, Any]:
    """Returns a card and the alerts behind it."""
    found = await _card(request, dimension, key)
    behind = await _asked(request, _cards(request).behind(found, kind, band))
    return {"card": found, "alerts": behind.alerts, "matching": behind.matching}


@router.get("/api/inspections")
async def inspections(request: Request) -> dict[str, Any]:
    """Returns the latest inspection list, and what the next one would be as things stand; null where there is none."""
    latest, preview = await _asked(request, _cards(request).inspections())
    return {"latest": latest, "preview": preview}


@router.get("/scorecards", include_in_schema=False)
async def scorecards_page(request: Request, lang: str | None = None) -> Response:
    """Serves the page of rankings."""
    cards = _cards(request)
    rankings = {
        dimension: await _asked(
            request, cards.ranking(dimension, measures[0], ROWS_SHOWN if dimension != "province" else 32)
        )
        for dimension, measures in RANKINGS.items()
    }
    latest, preview = await _asked(request, cards.inspections())
    return _page(request, "scorecards.html", lang, rankings=rankings, latest=latest, preview=preview)


@router.get("/scorecards/{dimension}/{key:path}", include_in_schema=False)
async def card_page(
    request: Request, dimension: Dimension, key: str, kind: Kind = None, band: Band = None, lang: str | None = None
) -> Response:
    """Serves the page of one card."""
    found = await _card(request, dimension, key)
    behind = await _asked(request, _cards(request).behind(found, kind, band))
    return _page(request, "card.html", lang, card=found, behind=behind, kind=kind, band=band)


def _cards(request: Request) -> Cards:
    return Cards(sources_of(request).redis)


async def _card(request: Request, dimension: str, key: str) -> Card:
    found = await _asked(request, _cards(request).card(dimension, key))
    if found is None:
        remedy = "Check the key; a card comes into being with its first alert, within seconds. Is pricelink scorecards running?"
        raise Problem(404, "no_such_card", f"no {dimension} of this key has a scorecard", key[:400], remedy)
    return found


async def _asked(request: Request, answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except REDIS_FAULTS as error:
        raise redis_away(without_password(sources_of(request).settings.redis_url), error) from error


def _page(request: Request, name: str, lang: str | None, **context: Any) -> Response:
    language = lang if lang in LANGUAGES else _preferred(request)
    words = orjson.loads(WORDS.read_bytes())[language]

    def named(dimension: str, key: str) -> str:
        return _NAMES[language].get(key, key) if dimension == "province" else key

    def card_link(card: Card, **wanted: str | None) -> str:
        return link(f"/scorecards/{card['dimension']}/{quote(card['key'], safe='')}", **wanted)

    def link(path: str, **wanted: str | None) -> str:
        asked = {key: value for key, value in ({"lang": language} | wanted).items() if value}
        return f"{path}?{urlencode(asked)}"

    return templates.TemplateResponse(
        request,
        name,
        {
            "words": words, "s": words["score"], "language": language, "other": LANGUAGES[language == "zh"],
            "version": static_version(), "named": named, "card_link": card_link, "link": link, "yuan": yuan,
            "percent": percent, "bands": WORST_FIRST, "kinds": KINDS, "alert_link": alert_link, "beijing": beijing,
            "simulated": sources_of(request).summary.as_json()["simulated"],
        }
        | context,
    )  # fmt: skip


def _preferred(request: Request) -> str:
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def alert_link(alert_id: str, language: str) -> str:
    """Returns where the console shows an alert with its evidence."""
    return f"/?lang={language}#alert={quote(alert_id, safe='')}"


def beijing(at: str) -> str:
    """Returns an event's time in Asia/Shanghai, ``2026-01-31 08:00``."""
    return f"{datetime.fromisoformat(at).astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def yuan(text: str) -> str:
    """Returns an amount with separators and two decimals, ``¥1,234.50``."""
    whole, _, decimals = text.partition(".")
    return f"¥{int(whole):,}.{decimals[:2]:0<2}"


def percent(basis_points: int | None) -> str:
    """Returns basis points in percent; – where there is no figure."""
    return "–" if basis_points is None else f"{basis_points / 100:.1f} %"
