"""The settings of the page, `[web]`."""

from typing import Annotated

from pydantic import AfterValidator

from node.toml_files import Table

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine that the page answers to."""


def _local(text: str) -> str:
    host, _, port = text.rpartition(":")
    if host not in LOCAL_HOSTS or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{text!r} is not 127.0.0.1:port; the page has no login, so reach it by ssh -L from elsewhere")
    return text


class WebSettings(Table):
    """The page of `isocenter web`."""

    address: Annotated[str, AfterValidator(_local)] = "127.0.0.1:8080"
    """Where the page listens: a loopback address and a port. Whoever has an account on this machine can read it."""
