"""The page itself, and what probes ask for."""

from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.templating import Jinja2Templates
from markupsafe import Markup

from config.provinces import PROVINCES
from gateway.filters import OPEN_BANDS
from gateway.sources import sources_of
from schemas.columns import KINDS

HERE: Final = Path(__file__).resolve().parent
STATIC: Final = HERE / "static"
WORDS: Final = STATIC / "words.json"
LANGUAGES: Final = ("zh", "en")

router = APIRouter()
probes = APIRouter()
templates: Final = Jinja2Templates(directory=HERE / "templates")


def static_version() -> str:
    """Returns a word that changes when a file of the page does."""
    return format(max(path.stat().st_mtime_ns for path in STATIC.iterdir()), "x")


def embedded(value: Any) -> Markup:
    """Renders JSON that may stand inside a script element."""
    text = orjson.dumps(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Serves the page."""
    bootstrap = {
        "provinces": [list(province) for province in PROVINCES],
        "kinds": KINDS,
        "bands": OPEN_BANDS,
        "policy": request.app.state.policy,
        "words": orjson.loads(WORDS.read_bytes()),
    }
    context = {"bootstrap": embedded(bootstrap), "version": static_version()}
    return templates.TemplateResponse(request, "page.html", context)


@probes.get("/healthz")
async def healthz() -> dict[str, str]:
    """Says that this process is alive."""
    return {"status": "ok"}


@probes.get("/readyz", responses={503: {"description": "Redis or the broker is away, or it has only just started"}})
async def readyz(request: Request) -> JSONResponse:
    """Says whether requests can be served: 200, or 503 with what is away, or not read yet."""
    sources = sources_of(request)
    shown, checks = sources.summary.as_json(), sources.ready()
    ready = all(checks.values())
    body = {
        "status": "ready" if ready else "not_ready",
        "checks": checks,
        "redis": shown["redis"],
        "broker": shown["broker"],
    }
    return JSONResponse(body, 200 if ready else 503)
