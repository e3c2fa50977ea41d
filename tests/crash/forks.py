"""Forks `isocenter serve` again and again from a process that has imported it: what is tested is not the import.

Reads lines `CONFIG LOG` from stdin, and answers each with the process id of a new node in a session of its own.
"""

import os
import signal
import sys
from pathlib import Path

from node.cli import app
from node.commands import serve as _serve  # noqa: F401 - so that no child imports it


def main() -> None:
    """Fork until stdin ends; children are not waited for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        config, log = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            written = os.open(Path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(written, 1)
            os.dup2(written, 2)
            app(["serve", "--config", config])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
