"""Peak memory of a process and what it started, from /proc."""

import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType

PAGE = 4096
EVERY_SECONDS = 0.05
KINDS = {
    "backend_stub": "Triton model",
    "watchdog": "watchdog",
    "tritonserver": "Triton server",
    "multiprocessing": "job",
}
"""What a process is, by what its command line has in it."""


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children[int(words[1])].append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        process = ahead.pop()
        found.append(process)
        ahead += children[process]
    return found


def resident(process: int) -> tuple[str, int]:
    """Return what a process is, and its resident bytes; shared libraries count in each."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return "gone", 0
    return next((kind for name, kind in KINDS.items() if name in words), "node"), pages * PAGE


def shares(process: int) -> tuple[str, float, float]:
    """Return what a process is, and its RSS and PSS in MiB (/proc/PID/smaps_rollup, proc(5))."""
    kind, _ = resident(process)
    lines = (line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return kind, kilobytes["Rss"] / 1024, kilobytes["Pss"] / 1024


class Peak:
    """Samples a process tree while the block runs; `by_kind` has the highest sum of each kind in MiB."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.by_kind: dict[str, float] = {}

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            sums: defaultdict[str, int] = defaultdict(int)
            for process in tree(self._root):
                kind, size = resident(process)
                sums[kind] += size
            for kind, size in sums.items():
                self.by_kind[kind] = max(self.by_kind.get(kind, 0.0), size / 2**20)
