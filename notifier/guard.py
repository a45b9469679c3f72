"""Where a webhook may not go: every address that is not a public one, looked at when the socket is made.

The resolver is no place for this: it never sees addresses written as numbers, and its answer may be another the next time.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96", "64:ff9b:1::/48",  # NAT64
        "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",  # discard, Teredo and kin, documentation, 6to4
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
"""What ``is_global`` of some Python lets pass is named here, too."""

AddressInfo = tuple[int, int, int, str, Sequence[Any]]
SocketFactory = Callable[[Any], socket.socket]


class RefusedAddress(OSError):
    """A webhook led to an address where none may go."""


def is_refused(text: str, allowed: Sequence[Network] = ()) -> bool:
    """Tells whether an address, as the system's resolver gives it, may not be connected to."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    if any(address in network for network in allowed):
        return False
    return not address.is_global or address.is_multicast or any(address in network for network in REFUSED)


def guarded_sockets(allowed: Sequence[Network] = ()) -> SocketFactory:
    """Returns a socket factory for aiohttp's connector that raises RefusedAddress. ``allowed``: although not public."""

    def make(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if family not in {socket.AF_INET, socket.AF_INET6} or is_refused(str(address[0]), allowed):
            raise RefusedAddress(f"{address[0]} is no public address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003
        return made

    return make


def networks_of(text: str) -> list[Network]:
    """Reads networks, comma-separated, to which webhooks may go although they are not public; raises ValueError."""
    return [ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip()]
