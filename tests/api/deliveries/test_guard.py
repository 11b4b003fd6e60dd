"""Where webhooks may not go."""

import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.api.deliveries.guard import RefusedError, resolve


def names(**table):
    """Return a resolver that knows only *table*."""

    def lookup(host, port, **_):
        addresses = table.get(host.replace(".", "_"))
        if addresses is None:
            try:
                return socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)
            except OSError:
                raise socket.gaierror(-2, "not known") from None
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return lookup


ALWAYS = [
    "169.254.169.254",
    "169.254.0.1",
    "[fe80::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "100.100.100.200",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "0.0.0.0",
    "[::]",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
]
PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "[::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "[fd12::1]",
    "[::ffff:10.0.0.1]",
]


@pytest.mark.parametrize("host", ALWAYS)
@pytest.mark.parametrize("allow", [True, False])
def test_link_local_and_metadata_addresses_are_refused_always(host, allow):
    """No setting opens them, in whatever spelling."""
    with pytest.raises(RefusedError):
        resolve(f"http://{host}/hook", allow_private=allow, lookup=names())


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_need_the_setting(host):
    """Loopback and private addresses are refused unless they are allowed."""
    with pytest.raises(RefusedError, match="OFFBEAT_WEBHOOK_ALLOW_PRIVATE"):
        resolve(f"http://{host}/hook", allow_private=False, lookup=names())
    assert resolve(f"http://{host}/hook", allow_private=True, lookup=names()).path == "/hook"


@pytest.mark.parametrize("url", ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://017700000001/"])
def test_odd_spellings_of_loopback_are_seen_through(url):
    """What the C library takes for 127.0.0.1 is judged as 127.0.0.1."""
    with pytest.raises(RefusedError):
        resolve(url, allow_private=False)


def test_a_name_is_judged_by_all_its_addresses():
    """One forbidden address among good ones refuses the name."""
    lookup = names(rebind_example=["93.184.216.34", "169.254.169.254"], good_example=["93.184.216.34"])
    with pytest.raises(RefusedError):
        resolve("https://rebind.example/", allow_private=True, lookup=lookup)
    target = resolve("https://good.example/a?b=c", allow_private=False, lookup=lookup)
    assert target.connect_url == "https://93.184.216.34:443/a?b=c"
    assert target.host_header == "good.example"


def test_the_connection_goes_to_the_judged_address():
    """A name is looked up once; what is connected to is an address, so a second answer cannot matter."""
    calls = []

    def lookup(host, port, **_):
        calls.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34" if len(calls) == 1 else "127.0.0.1", port))
        ]

    target = resolve("http://flips.example:8080/x", allow_private=False, lookup=lookup)
    assert (target.connect_url, calls) == ("http://93.184.216.34:8080/x", ["flips.example"])
    assert target.host_header == "flips.example:8080"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://93.184.216.34/",
        "file:///etc/passwd",
        "gopher://93.184.216.34/",
        "http://",
        "http:///x",
        "http://user:pw@93.184.216.34/",
        "http://93.184.216.34:99999/",
        "http://[::1/",
        "http://nobody.invalid/",
        "//93.184.216.34/",
        "javascript:alert(1)",
        "http://exa mple/",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url):
    """Other schemes, passwords and broken URLs are refused with a reason."""
    with pytest.raises(RefusedError):
        resolve(url, allow_private=True, lookup=names())


@given(st.text(max_size=60))
def test_no_text_does_worse_than_being_refused(text):
    """Whatever is typed, the answer is a target or a refusal."""
    with suppress(RefusedError):
        resolve(f"http://{text}", allow_private=False, lookup=names())
