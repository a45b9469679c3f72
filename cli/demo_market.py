"""`pricelink market`: the simulated market as a process that stops cleanly."""

import asyncio
from functools import partial

from agents import logs
from agents.app import exit_code, stop_on_signals
from agents.metrics_server import serve
from config.settings import Settings
from market.run import run as run_market
from market.run import write_history


def run(settings: Settings, rate: float, seed: int, products: int) -> int:
    """Writes the demo market's records until SIGTERM or SIGINT; returns the exit code (``agents.exits``)."""
    logs.set_up(settings, "market")
    return exit_code(partial(_until_stopped, settings, rate, seed, products))


def run_history(settings: Settings, seed: int, products: int) -> int:
    """Writes what happened before the market opens; returns the exit code."""
    logs.set_up(settings, "market")
    return exit_code(partial(write_history, settings, seed, products))


async def _until_stopped(settings: Settings, rate: float, seed: int, products: int) -> None:
    serve(settings)
    stop = asyncio.ensure_future(stop_on_signals().wait())
    market = asyncio.ensure_future(run_market(settings, rate, seed, products))
    await asyncio.wait([stop, market], return_when=asyncio.FIRST_COMPLETED)
    if market.done():
        stop.cancel()
        await market  # raises what ended it
    market.cancel()
    await asyncio.wait([market])
