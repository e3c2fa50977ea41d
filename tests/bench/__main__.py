"""Run a bench by name: `python -m tests.bench river`."""

import sys

from tests.bench import ledger, river, seg

BENCHES = {"ledger": ledger.main, "river": river.main, "seg": seg.main}

if __name__ == "__main__":
    names = sys.argv[1:] or ["river"]
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"there is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    for name in names:
        BENCHES[name]()
