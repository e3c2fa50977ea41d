"""Run a bench by name, or all: `python -m tests.bench river`; further words are for the bench."""

import sys

from tests.bench import (
    guards,
    ledger,
    load,
    models,
    plugins,
    receive,
    river,
    seg,
    soak,
    throughput,
    traffic,
    transport,
    trust,
    volumes,
    window,
)

BENCHES = {
    "receive": receive.main,
    "load": load.main,
    "transport": transport.main,
    "traffic": traffic.main,
    "seg": seg.main,
    "window": window.main,
    "models": models.main,
    "river": river.main,
    "throughput": throughput.main,
    "plugins": plugins.main,
    "ledger": ledger.main,
    "guards": guards.main,
    "volumes": volumes.main,
    "soak": soak.main,
    "trust": trust.main,
}

ALL = "all"

if __name__ == "__main__":
    name, *_ = sys.argv[1:] or ["river"]
    if name not in (*BENCHES, ALL):
        sys.exit(f"there is no bench {name!r}; there are: {', '.join(BENCHES)}, {ALL}")
    for bench in BENCHES if name == ALL else (name,):
        BENCHES[bench]()
