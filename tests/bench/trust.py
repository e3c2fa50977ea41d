"""Every plugin on right images and on wrong ones: `python -m tests.bench trust [random] [each=N] [PLUGIN …]`.

Images are real ones of ../shared/data, wrapped as DICOM of the plugin's modality, and the right ones distorted. With
`random`, networks answer at random. Demonstration networks are asked as if a route permitted it. It prints a table and
every exception; docs/trust.md has the latest table.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from node.triton import GrpcTriton, LocalServer
from tests.peers import ROOT
from tests.trust.judging import Verdict, judged, table
from tests.trust.pairs import PURPOSES, pairs

DEADLINE_SECONDS = 600


def main() -> None:
    """Judge the pairs, printing each as it is done."""
    words = sys.argv[2:]
    each = next((int(word.partition("=")[2]) for word in words if word.startswith("each=")), 1)
    asked = [word for word in words if word in PURPOSES] or list(PURPOSES)
    torch.set_num_threads(1)
    verdicts: list[Verdict] = []
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="isocenter-bench-") as folder,
        LocalServer(ROOT / "triton_models", Path(folder) / "triton.log") as server,
    ):
        triton = GrpcTriton([server.address], deadline_seconds=DEADLINE_SECONDS)
        for pair in pairs(asked, each):
            verdicts.append(judged(pair, triton, at_random="random" in words))
            last = verdicts[-1]
            sign = "  " if last.as_wanted else "✗ "
            print(f"{sign}{pair.plugin} {pair.name}: {last.outcome} {last.reason[:120]}", flush=True)
        triton.close()
    print("\n".join(table(verdicts)))
    print(f"{len(verdicts)} pairs in {time.monotonic() - started:.0f} s")
