"""Errors as the HTTP interface tells them: what went wrong, where, and what to do about it."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response


class Problem(Exception):
    """An answer that is an error.

    ``code``: a word for programs; ``what``: what happened; ``where``: the address, parameter or key it is about;
    ``remedy``: what the reader can do; ``headers``, ``more``: what else the answer has, in its head and body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        where: str,
        remedy: str,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.code = code
        self.what = what
        self.where = where
        self.remedy = remedy
        self.headers = headers or {}
        self.more = more or {}

    def response(self) -> JSONResponse:
        """Renders it."""
        body: dict[str, Any] = {
            "error": {"code": self.code, "what": self.what, "where": self.where, "remedy": self.remedy}
        }
        headers = ({"Retry-After": "2"} if self.status in {429, 503} else {}) | self.headers
        return JSONResponse(body | self.more, self.status, headers)


def redis_away(redis_url: str, error: Exception) -> Problem:
    """The read model cannot be asked."""
    return Problem(
        503,
        "redis_away",
        f"Redis does not answer: {str(error) or type(error).__name__}",
        redis_url,
        "Open alerts are kept in Redis. Start it, or set PRICELINK_REDIS_URL to where it runs; the page retries by itself.",
    )


def install(app: FastAPI) -> None:
    """Makes every error of ``app`` look the same."""

    async def on_problem(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, Problem)
        return problem.response()

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        remedy = (
            "The addresses are listed at /openapi.json."
            if error.status_code == 404
            else "See /openapi.json for what is served here."
        )
        return Problem(error.status_code, "http", str(error.detail), request.url.path, remedy).response()

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        remedy = "Correct the parameter; /openapi.json lists them with their ranges."
        return Problem(422, "bad_parameter", f"{name}: {first['msg']}", request.url.path, remedy).response()

    async def on_gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
