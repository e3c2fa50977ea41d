"""What the exit codes of the commands mean: for `--help`, and for the reference."""

from collections.abc import Mapping

OK, NOTHING, MEND, INTERRUPTED = 0, 1, 2, 130
EVERYWHERE: Mapping[int, str] = {
    OK: "all went well",
    MEND: "something must be corrected: one sentence says what, with the file and the key; or the command was mistyped",
    INTERRUPTED: "Ctrl-C; nothing is left running",
}
"""Exit code of every command → what it means."""

FITS = "nothing fitted, or the answer to the question was no"
SERVES: Mapping[int, str] = {
    OK: "the node was stopped, by SIGTERM or Ctrl-C",
    MEND: "the configuration cannot be served",
}
ONES: Mapping[str, Mapping[int, str]] = {
    "alive": {NOTHING: "no process of the node on this machine is alive"},
    "backup": {},
    "bundle": {},
    "cancel": {NOTHING: FITS},
    "check": {MEND: "something must be mended: each such line says what"},
    "conformance": {},
    "delete": {NOTHING: "no study, or several are meant; or the answer to the question was no"},
    "deliver": SERVES,
    "demo": {NOTHING: "a study has no answer: no route took it, or its job is parked; the last lines say why"},
    "explain": {NOTHING: "nothing of this study was ever received here"},
    "init": {},
    "ledger rebuild": {},
    "model add": {},
    "model compare": {},
    "model export": {},
    "model get": {},
    "model list": {},
    "model remove": {},
    "model search": {NOTHING: "the catalogue has nothing for these words"},
    "model show": {},
    "pause": {},
    "plugin list": {},
    "plugin new": {},
    "plugin test": {NOTHING: "a test failed"},
    "plugin try": {},
    "queue": {NOTHING: "nothing waits or runs"},
    "receive": SERVES,
    "reload": {NOTHING: "a process of the node refused its files, or none runs"},
    "requeue": {NOTHING: FITS},
    "restore": {},
    "resume": {NOTHING: "it was not paused"},
    "send": {NOTHING: "not every instance was stored, or a file could not be sent"},
    "serve": SERVES,
    "service install": {},
    "status": {},
    "studies": {NOTHING: "no study fits"},
    "watch": {OK: "Ctrl-C ended it"},
    "web": {
        OK: "the page was stopped, by SIGTERM or Ctrl-C",
        MEND: "the port is in use, or the configuration cannot be used",
    },
    "work": SERVES,
}
"""Command → what its exit codes mean, beside or in place of what they mean everywhere."""


def exit_codes(command: str) -> Mapping[int, str]:
    """Return exit code → meaning for a command, named by its words without `isocenter`."""
    own = ONES[command]
    return {
        code: own.get(code) or EVERYWHERE[code]
        for code in sorted({*EVERYWHERE, *own})
        if code != INTERRUPTED or OK not in own  # these end with 0 at Ctrl-C
    }


def in_a_line(command: str) -> str:
    """Return the exit codes that are the command's own, as the last line of its help."""
    return "; ".join(f"Exit code {code}: {meaning}" for code, meaning in sorted(ONES.get(command, {}).items()))
