"""Files of the spool: who may read them, how bytes are written whole, and how names are made durable."""

import os
from collections.abc import Iterable
from pathlib import Path

Buffer = bytes | bytearray | memoryview
MOST_PARTS = 1024
"""What one writev takes at most (IOV_MAX)."""
PRIVATE_FILE = 0o600
"""Images are for the node's user alone."""
READ_ONLY_FILE = 0o400


def write_all(fd: int, parts: Iterable[Buffer]) -> None:
    """Write all parts at the file's position; one call of writev may write less than it is given."""
    views = [memoryview(part) for part in parts if part]
    while views:
        written = os.writev(fd, views[:MOST_PARTS])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
