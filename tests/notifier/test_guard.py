import asyncio
import socket
from collections.abc import Callable

import pytest

from gateway.endpoints import EndpointFault, check_url
from notifier.guard import RefusedAddress, guarded_sockets, is_refused, networks_of
from notifier.sender import Sender

TARGETS = [
    # loopback, and the ways to write it
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "localhost",
    "127.255.255.254", "0", "0.0.0.0", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "LOCALHOST", "localhost.",
    # IPv4 inside IPv6
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]",
    "[2002:7f00:1::]", "[2002:a00:1::1]", "[2002:c0a8:101::1]", "[2001:0:7f00:1::]",
    # private, shared, link-local, metadata
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.0.1", "[fe80::1]", "[fe80::a9fe:a9fe]", "[fc00::1]", "[fd00:ec2::254]",
    "[fec0::1]",
    # multicast, broadcast, reserved, documentation, benchmarks
    "224.0.0.1", "239.255.255.255", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1",
    "198.18.0.1", "192.0.0.1", "192.88.99.1", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[100::1]", "[3fff::1]", "[5f00::1]",
]  # fmt: skip


def test_there_are_sixty_targets() -> None:
    assert len(set(TARGETS)) == len(TARGETS) >= 60


def test_no_target_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection that is tried goes through ``sock_connect``: none may be."""
    tried: list[object] = []
    made: list[object] = []
    plain = socket.socket

    def new_socket(*asked: int) -> socket.socket:
        made.append(asked)
        return plain(*asked)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "sock_connect", lambda _loop, _sock, address: tried.append(address))
        monkeypatch.setattr("notifier.guard.socket.socket", new_socket)
        listening = plain(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        sender = Sender()
        for target in TARGETS:
            for scheme in ("http", "https"):
                outcome = await sender.send(f"{scheme}://{target}:{port}/", {}, b"{}")
                assert not outcome.succeeded
                assert outcome.problem in {"address_refused", "no_connection", "bad_answer"}, (target, outcome)
        await sender.close()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
        listening.close()

    asyncio.run(run())
    assert (tried, made) == ([], [])


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "114.114.114.114"])
def test_public_addresses_are_not_refused(address: str) -> None:
    assert not is_refused(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    guarded_sockets()((family, socket.SOCK_STREAM, 0, "", (address, 443))).close()


def test_allowed_networks_are_those_alone() -> None:
    allowed = networks_of("127.0.0.0/8, fd00::/8")
    assert not is_refused("127.0.0.1", allowed)
    assert not is_refused("fd00::1", allowed)
    assert is_refused("10.0.0.1", allowed)
    assert is_refused("::ffff:127.0.0.1", allowed)
    with pytest.raises(RefusedAddress):
        guarded_sockets(allowed)((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 443)))


@pytest.mark.parametrize(
    "url",
    ["http://x.example", "ftp://x.example", "https://", "https://u:p@x.example", "https://x.example/#f", "//x", "x",
     "https://x.example:99999", "https://x.example/ä", "https://x.example/a b", "https://x.example/\n", "https://[::1", "https://x/" + "a" * 2_000],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(EndpointFault):
        check_url(url, allow_http=False)


def served(answer: bytes, work: Callable[[str, list[bytes]], object]) -> None:
    """Runs ``work`` with the address of a server that gives ``answer`` to whoever asks, and what it was asked."""

    async def run() -> None:
        asked: list[bytes] = []

        async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            try:
                writer.write(answer)
                await writer.drain()
                if b"content-length: 0" not in answer:
                    await asyncio.sleep(0.3)
            except ConnectionError:
                asked.append(b"gone")
            writer.close()

        server = await asyncio.start_server(on_client, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        await work(address, asked)  # type: ignore[misc]
        server.close()

    asyncio.run(asyncio.wait_for(run(), 20))


def local() -> Sender:
    return Sender(networks_of("127.0.0.0/8"), answer_s=2.0)


def test_redirects_are_not_followed() -> None:
    async def work(address: str, asked: list[bytes]) -> None:
        sender = local()
        outcome = await sender.send(address, {}, b"{}")
        await sender.close()
        assert (outcome.status, outcome.problem, len(asked)) == (302, "status_302", 1)

    served(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", work)


def test_of_a_long_answer_no_more_than_its_beginning_is_read() -> None:
    async def work(address: str, _: list[bytes]) -> None:
        sender = local()
        outcome = await sender.send(address, {}, b"{}")
        await sender.close()
        assert outcome.succeeded
        assert outcome.took_ms < 2_000

    served(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n" + b"x" * 200_000, work)


def test_retry_after_is_read() -> None:
    async def work(address: str, _: list[bytes]) -> None:
        sender = local()
        outcome = await sender.send(address, {}, b"{}")
        await sender.close()
        assert (outcome.status, outcome.retry_after_s) == (503, 77.0)

    served(b"HTTP/1.1 503 Busy\r\nretry-after: 77\r\ncontent-length: 0\r\n\r\n", work)
