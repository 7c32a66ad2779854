"""Which URLs may be called, and which addresses may be connected to. Pure.

What is refused is everything that is not a host of the public internet: the IANA registries of
special-purpose addresses (RFC 6890 and what came after it) as they stood in 2026. Of IPv6 only the
global unicast block is public, so every form that carries an IPv4 address inside of it (mapped,
compatible, NAT64) lies outside by itself; 6to4 and Teredo, which lie inside, are named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

from yarl import URL

from flashorder.settings import Settings

URL_CHARACTERS_MAX: Final = 2048
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host, this network; 0.0.0.0 connects to the machine itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT); metadata of one cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # looks public, and is the host of a cloud's machines
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks, AMT
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_AUTHORITY: Final = re.compile(r"[A-Za-z]+://([^/?#]*)")
# A label of a host name, as resolvers and certificates know it.
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_CHARACTERS_MAX: Final = 253

IpNetwork = IPv4Network | IPv6Network


class UrlRefused(ValueError):
    """The URL may not be called; ``code`` for programs, the text for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """``ports`` are (first, last); of ``networks`` every address is permitted, on those ports."""

    ports: tuple[tuple[int, int], ...] = ((443, 443),)
    networks: tuple[IpNetwork, ...] = ()
    plain_http: bool = False

    @classmethod
    def of_webhooks(cls, settings: Settings) -> EgressPolicy:
        """The policy for what subscribers name."""
        ranges = (part.split("-") for part in settings.webhook_ports.split(","))
        ports = tuple((int(each[0]), int(each[-1])) for each in ranges)
        return cls(ports, settings.webhook_networks, settings.webhook_plain_http)

    def permits(self, address: str) -> bool:
        """Whether a connection to ``address`` (as a socket names it) may be made."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if any(parsed in network for network in self.networks):
            return True
        if isinstance(parsed, IPv4Address):
            return not any(parsed in block for block in _NOT_PUBLIC_4)
        return parsed in _PUBLIC_6 and not any(parsed in block for block in _NOT_PUBLIC_6)

    def checked_url(self, text: str) -> URL:
        """``text`` as the client will read it, or ``UrlRefused``.

        A host name is not looked up: where it leads is asked when it is called.
        """
        if not 0 < len(text) <= URL_CHARACTERS_MAX:
            raise UrlRefused("length", f"1 to {URL_CHARACTERS_MAX} characters")
        # What parsers read in different ways is not read at all.
        if not text.isascii() or not text.isprintable() or any(each in text for each in ' \\"<>^`'):
            raise UrlRefused("characters", "printable ASCII without spaces and backslashes")
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError as error:
            raise UrlRefused("not_a_url", "not an absolute URL") from error
        authority = _AUTHORITY.match(text)
        if not host or authority is None:
            raise UrlRefused("not_a_url", "an absolute URL, https://host/path")
        if "@" in authority[1]:
            raise UrlRefused("credentials", "no user or password in the URL")
        if "#" in text:
            raise UrlRefused("fragment", "no fragment")
        self._check_parts(url, port)
        self._check_host(host)
        return url

    def _check_parts(self, url: URL, port: int | None) -> None:
        if url.scheme != "https" and not (url.scheme == "http" and self.plain_http):
            raise UrlRefused("scheme", "https only")
        if port is None or not any(first <= port <= last for first, last in self.ports):
            raise UrlRefused("port", "this port may not be called")

    def _check_host(self, host: str) -> None:
        if ":" in host:
            try:
                address: IPv4Address | IPv6Address = IPv6Address(host)
            except AddressValueError:
                raise UrlRefused("host", "not an IPv6 address") from None
            if "%" in host:
                raise UrlRefused("host", "no zone in an address")
        else:
            labels = host.lower().removesuffix(".").split(".")
            if _NUMBER.fullmatch(labels[-1]):
                # Whatever ends in a number is read as an IPv4 address by some resolvers: 127.1,
                # 0x7f000001, 017700000001. Only the one spelling is taken.
                try:
                    address = IPv4Address(host)
                except AddressValueError:
                    raise UrlRefused("host", "not an IPv4 address of four decimals") from None
            elif len(host) > _HOST_CHARACTERS_MAX or not all(map(_LABEL.fullmatch, labels)):
                raise UrlRefused("host", "not a host name")
            else:
                return
        if not self.permits(str(address)):
            raise UrlRefused("address", "this address is not one of the public internet")
