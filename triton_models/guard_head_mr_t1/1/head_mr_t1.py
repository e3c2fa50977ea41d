"""Is it a T1-weighted MR of a whole head: a head, in which fluid is not the brightest tissue?

The fluid deep in the head distinguishes T1 from T2: in T2 it is more than twice as bright as brain. In FLAIR it is dark
as in T1, and only the header distinguishes them: the echo time, or else the repetition and the inversion time.
"""

import json

from serving.body import to_coarse_grid
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

from head_mr import CHECKS, COARSE_MM, Head, look_at

BRIGHTEST = 1.9
"""Times the median deep in the head: the brightest 5 % in T2 have 2.3, in T1 at most 1.6."""
LONGEST_ECHO_MS = 40.0
LONGEST_REPETITION_MS, LONGEST_INVERSION_MS = 3000.0, 1500.0
"""Of T1 whose echo time is unknown. FLAIR has a repetition time of 5 s or more, an inversion time of 1.6 s or more."""
FLUID: Check[Head] = Check(
    lambda seen: seen.bright <= BRIGHTEST,
    lambda seen: f"fluid is bright, {seen.bright:.1f} times the brain: the images are T2-weighted, not T1-weighted",
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:
    """Say whether an MR shows a whole head in T1. See docs/plugin-author.md for what is given and returned."""
    fault = timing_fault(header)
    timing: Check[Head] = Check(lambda _: not fault, fault)
    return answer_by_checks(look_at(to_coarse_grid(volume, affine, COARSE_MM)), (*CHECKS, FLUID, timing))


def timing_fault(header: str) -> str:
    """Return why the times of a header are not those of T1; empty if they are."""
    echo, repetition, inversion = (time_ms(header, f"{name}Time") for name in ("Echo", "Repetition", "Inversion"))
    if echo > LONGEST_ECHO_MS:
        return f"the echo time of {echo:.0f} ms is that of T2 or FLAIR, not of T1"
    if echo:
        return ""
    if not repetition:
        return "the header has neither echo time nor repetition time, without which FLAIR looks like T1"
    if repetition > LONGEST_REPETITION_MS or inversion > LONGEST_INVERSION_MS:
        return (
            f"the header has no echo time, and a repetition time of {repetition:.0f} ms and an inversion time of "
            f"{inversion:.0f} ms are those of T2 or FLAIR, not of T1"
        )
    return ""


def time_ms(header: str, keyword: str) -> float:
    """Return a time in ms that a header states; 0 if it states none."""
    try:
        return float(json.loads(header).get(keyword) or 0)
    except (TypeError, ValueError):
        return 0.0
