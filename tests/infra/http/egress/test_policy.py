"""The corpus of addresses and spellings by which a service is led to call its own network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashorder.infra.http.egress.policy import EgressPolicy, UrlRefused
from flashorder.kernel.errors import Misconfigured
from flashorder.settings import Settings, load_settings

PUBLIC = EgressPolicy()
OPEN_PORTS = EgressPolicy(ports=((1, 65535),), plain_http=True)

REFUSED = [
    # IPv4
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    # IPv6
    "::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254",
    "fdff::1", "ff02::1", "ff0e::1", "100::1", "100:0:0:1::1", "2001:db8::1", "2001::1",
    "2001:10::1", "2001:20::1", "2001:2::1", "2001:1::1", "3fff::1", "5f00::1", "2620:4f:8000::1",
    "4000::1", "1::1",
    # an IPv4 address inside: mapped, compatible, translated, NAT64, 6to4, Teredo
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:93.184.216.34", "::127.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::10.0.0.1", "64:ff9b::5db8:d822",
    "2002:7f00:1::1", "2002:a00:1::", "2002:a9fe:a9fe::1", "2002:5db8:d822::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # no address
    "", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "1.2.3", "1.2.3.4.5",
    "1.2.3.4 ", "01.2.3.4",
]  # fmt: skip
PERMITTED = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "169.253.255.255",
    "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255",
    "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1", "2600::",
]  # fmt: skip

NAMES_OF_LOOPBACK = [
    "https://127.0.0.1/", "https://127.0.0.1./", "https://127.1/", "https://127.0.1/",
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0x7f.1/",
    "https://017700000001/", "https://0177.0.0.1/", "https://0177.1/", "https://127.0.0.01/",
    "https://127.0.0.0x1/", "https://0/", "https://00/", "https://0x0/", "https://0.0.0.0/",
    "https://1.2.3.4.127.1/", "https://a.127/", "https://[::1]/", "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1%25lo]/",
    "https://[v1.fe80::a]/", "https://127%2e0%2e0%2e1/", "https://%31%32%37.0.0.1/",
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://\uff11\uff12\uff17.0.0.1/",
]  # fmt: skip
ODD_URLS = [
    "", "https:", "https://", "https:///hook", "https:hook.example", "//hook.example/", "/hook",
    "hook.example", "https://?x", "https://:443/", "https://#",
    "http://hook.example/", "HTTP://hook.example/", "ftp://hook.example/", "file:///etc/passwd",
    "gopher://hook.example:443/", "javascript://hook.example/%0aalert(1)", "ws://hook.example/",
    "unix:///run/docker.sock", "https+unix://%2frun%2fdocker.sock/", "data:text/plain,x",
    "https://user@hook.example/", "https://user:word@hook.example/", "https://:word@hook.example/",
    "https://@hook.example/", "https://hook.example@127.0.0.1/", "https://a:b@c:d@hook.example/",
    "https://hook.example:80/", "https://hook.example:22/", "https://hook.example:0/",
    "https://hook.example:65536/", "https://hook.example:-1/", "https://hook.example:4 43/",
    "https://hook.example:\uff16379/", "https://hook.example:6379/", "https://hook.example:x/",
    "https://hook.example/#fragment", "https://hook.example/#",
    "https://hook.example\\@127.0.0.1/", "https:\\\\hook.example\\", "https://hook.example/\\..",
    "https://hook.example/\r\nHost: x", "https://hook.example/\tx", "https://hook.example/ x",
    " https://hook.example/", "https://hook.example/ ", "https://hook.example/\0",
    "https://hook.example\x7f/", "https://hook_.-.example/", "https://-hook.example/",
    "https://hook..example/", "https://.example/", "https://*.example/", "https://hook!.example/",
    "https://höök.example/", f"https://{'a' * 64}.example/", f"https://{'a.' * 130}example/",
    f"https://hook.example/{'x' * 2048}", "https://[hook.example]/", "https://[1.2.3.4]/",
    "https://[::1", "https://::1/", "https://[2606:4700:4700::1111/", "https://hook.example:443:443/",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_no_public_address_is_refused(address: str) -> None:
    assert not PUBLIC.permits(address)
    assert not OPEN_PORTS.permits(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_the_public_internet_is_permitted(address: str) -> None:
    assert PUBLIC.permits(address)


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_that_python_knows_as_special_is_refused(address: IPv4Address) -> None:
    special = address.is_private or address.is_multicast or address.is_reserved
    special = special or address.is_loopback or address.is_link_local or address.is_unspecified
    if special or not address.is_global:
        assert not PUBLIC.permits(str(address))


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_that_python_knows_as_special_is_refused(address: IPv6Address) -> None:
    inside = address.ipv4_mapped or address.sixtofour or address.teredo
    special = address.is_private or address.is_multicast or address.is_reserved
    if inside or special or address.is_link_local or address.is_site_local:
        assert not PUBLIC.permits(str(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_of_another_is_never_permitted(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (0xFFFF << 32, 0, 0x64FF9B << 96, 0xFFFF << 48, 0x64FF9B0001 << 80):
        assert not PUBLIC.permits(str(IPv6Address(wrapped | number)))
    assert not PUBLIC.permits(str(IPv6Address((0x2002 << 112) | (number << 80) | 1)))


@pytest.mark.parametrize("url", NAMES_OF_LOOPBACK)
def test_no_spelling_of_an_address_passes(url: str) -> None:
    for policy in (PUBLIC, OPEN_PORTS):
        with pytest.raises(UrlRefused):
            policy.checked_url(url)


@pytest.mark.parametrize("url", ODD_URLS)
def test_what_parsers_could_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        PUBLIC.checked_url(url)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hook.example/", "scheme"),
        ("https://u:w@hook.example/", "credentials"),
        ("https://hook.example:81/", "port"),
        ("https://hook.example/#x", "fragment"),
        ("https://10.0.0.1/", "address"),
        ("https://127.1/", "host"),
        ("https://hook.example/ ", "characters"),
        ("https://", "not_a_url"),
        (f"https://hook.example/{'x' * 2048}", "length"),
    ],
)
def test_a_refusal_says_which_part(url: str, code: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        PUBLIC.checked_url(url)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "url",
    [
        "https://hook.example",
        "https://hook.example/a/b?c=d&e=%20",
        "HTTPS://Hook.Example:443/",
        "https://hook.example./",
        "https://xn--hk-fkaa.example/",
        "https://a_b.hook.example/",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://123.example/",
        "https://0x7f.example/",
    ],
)
def test_a_plain_url_is_taken(url: str) -> None:
    assert PUBLIC.checked_url(url).scheme == "https"


def test_networks_ports_and_plain_http_can_be_named() -> None:
    policy = EgressPolicy(
        ((443, 443), (8000, 8001)), (ip_network("10.1.0.0/16"), ip_network("fd00:1::/64")), True
    )
    assert policy.permits("10.1.2.3")
    assert policy.permits("fd00:1::5")
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::1", "::ffff:10.1.2.3", "::10.1.2.3"):
        assert not policy.permits(address)
    assert str(policy.checked_url("http://10.1.2.3:8001/x")) == "http://10.1.2.3:8001/x"
    for url in ("http://10.1.2.3/", "http://10.1.2.3:8002/", "http://10.2.2.3:8000/"):
        with pytest.raises(UrlRefused):
            policy.checked_url(url)


def test_the_settings_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    default = EgressPolicy.of_webhooks(Settings())
    assert default == EgressPolicy(((443, 443), (8443, 8443)))
    monkeypatch.setenv("FLASHORDER_WEBHOOK_PORTS", "443,8000-8100")
    monkeypatch.setenv("FLASHORDER_WEBHOOK_NETWORKS", "10.1.0.0/16,fd00:1::/64")
    monkeypatch.setenv("FLASHORDER_WEBHOOK_PLAIN_HTTP", "true")
    policy = EgressPolicy.of_webhooks(load_settings())
    assert policy.ports == ((443, 443), (8000, 8100))
    assert policy.permits("10.1.0.1")
    assert policy.plain_http
    for name, wrong in (
        ("PORTS", "https"), ("PORTS", "700000"), ("PORTS", "1-"), ("PORTS", "-"), ("PORTS", "1;2"),
        ("NETWORKS", "10.1.0.1/16"), ("NETWORKS", "localhost"), ("PLAIN_HTTP", "perhaps"),
    ):  # fmt: skip
        with monkeypatch.context() as setting:
            setting.setenv(f"FLASHORDER_WEBHOOK_{name}", wrong)
            with pytest.raises(Misconfigured, match=f"FLASHORDER_WEBHOOK_{name}"):
                load_settings()
