"""The gateway as a process: what it cannot do it says, and it never goes on with a part of it dead."""

import socket
from typing import Any

import pytest

from config.settings import Settings
from gateway import server
from gateway.sources import Sources


def no_producer(_settings: Settings) -> Any:
    """Nothing is sent here."""


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            server.run(Settings(gateway_port=port), no_producer)


def test_a_part_that_fails_ends_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_sources: Sources) -> None:
        raise LookupError("the stream is dead")

    monkeypatch.setattr(Sources, "run", fail)
    with pytest.raises(LookupError, match="the stream is dead"):
        server.run(Settings(gateway_port=0), no_producer)
