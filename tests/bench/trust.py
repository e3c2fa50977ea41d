"""Every plugin on right and wrong images: `python -m tests.bench trust [random] [each=N] [changed=N] [PLUGIN …]`.

Images are real ones of ../shared/data, wrapped as DICOM of the plugin's modality: N pictures of each class that no
guard was made with, and all volumes. Of N right ones, all distortions are asked about, too. With `random`, networks
answer at random. Demonstration networks are asked as if a route permitted it. It prints a table and every exception,
and writes them into docs/trust.json; `python docs/generate.py` then writes them into docs/trust.md and the card of each
plugin.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from node.triton import GrpcTriton, LocalServer
from tests.peers import ROOT
from tests.trust.judging import Verdict, counts, judged, table
from tests.trust.pairs import PURPOSES, pairs

DEADLINE_SECONDS = 600
COUNTS = ROOT / "docs" / "trust.json"
"""What docs/generate.py writes into docs/trust.md and the cards; a run replaces the plugins that it ran."""


def number(words: Sequence[str], name: str) -> int:
    """Return N of the word NAME=N; 1 without it."""
    return next((int(word.partition("=")[2]) for word in words if word.startswith(f"{name}=")), 1)


def main() -> None:
    """Judge the pairs, printing each as it is done."""
    words = sys.argv[2:]
    each, changed = (number(words, name) for name in ("each", "changed"))
    asked = [word for word in words if word in PURPOSES] or list(PURPOSES)
    torch.set_num_threads(1)
    verdicts: list[Verdict] = []
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="isocenter-bench-") as folder,
        LocalServer(ROOT / "triton_models", Path(folder) / "triton.log") as server,
    ):
        triton = GrpcTriton([server.address], deadline_seconds=DEADLINE_SECONDS)
        for pair in pairs(asked, each, changed):
            verdicts.append(judged(pair, triton, at_random="random" in words))
            last = verdicts[-1]
            sign = "  " if last.as_wanted else "✗ "
            print(f"{sign}{pair.plugin} {pair.name}: {last.outcome} {last.reason[:120]}", flush=True)
        triton.close()
    print("\n".join(table(verdicts)))
    if "random" not in words:
        known = json.loads(COUNTS.read_text(encoding="utf-8"))
        known |= counts(verdicts, datetime.now(UTC).date().isoformat())
        COUNTS.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(verdicts)} pairs in {time.monotonic() - started:.0f} s")
