"""What systemd is told of a node: ready, stopping, alive (sd_notify(3)). Where systemd did not start it, nobody is."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


def notify(*states: str) -> None:
    """Tell systemd something: `READY=1`, `STOPPING=1`, `STATUS=…`."""
    address = os.environ.get(SOCKET, "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket (unix(7))
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send("\n".join(states).encode())


def start_watchdog(alive: Callable[[], bool]) -> None:
    """Tell systemd twice in `WatchdogSec=` that the node is alive, as long as it is; else systemd restarts it.

    The thread needs Python's lock as all others do: a process that is stuck with it says nothing either.
    """
    seconds = watchdog_seconds()
    if seconds:
        threading.Thread(target=_beat, args=(alive, seconds / 2), name="watchdog", daemon=True).start()


def watchdog_seconds() -> float:
    """Return how long systemd waits for a sign of life of this process; 0 if it does not."""
    if os.environ.get(WATCHDOG_PID, str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get(WATCHDOG, "0")) / 1e6


def _beat(alive: Callable[[], bool], seconds: float) -> None:
    wait = threading.Event()
    while alive():
        notify("WATCHDOG=1")
        wait.wait(seconds)
