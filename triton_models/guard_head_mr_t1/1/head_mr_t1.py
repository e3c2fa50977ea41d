"""Is it a T1-weighted MR of a whole head: a head, in which fluid is not the brightest tissue?

The fluid deep in the head distinguishes T1 from T2: in T2 it is more than twice as bright as brain. In FLAIR it is dark
as in T1; the echo time distinguishes them if the header has it.
"""

import json

from serving.body import to_coarse_grid
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

from head_mr import CHECKS, COARSE_MM, Head, look_at

BRIGHTEST = 1.9
"""Times the median deep in the head: the brightest 5 % in T2 have 2.3, in T1 at most 1.6."""
LONGEST_ECHO_MS = 40.0
FLUID: Check[Head] = Check(
    lambda seen: seen.bright <= BRIGHTEST,
    lambda seen: f"fluid is bright, {seen.bright:.1f} times the brain: the images are T2-weighted, not T1-weighted",
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:
    """Say whether an MR shows a whole head in T1. See docs/plugin-author.md for what is given and returned."""
    echo = echo_time(header)
    short: Check[Head] = Check(
        lambda _: echo <= LONGEST_ECHO_MS,
        lambda _: f"the echo time of {echo:.0f} ms is that of T2 or FLAIR, not of T1",
    )
    return answer_by_checks(look_at(to_coarse_grid(volume, affine, COARSE_MM)), (*CHECKS, FLUID, short))


def echo_time(header: str) -> float:
    """Return the echo time in ms that a header states; 0 if it states none."""
    try:
        return float(json.loads(header).get("EchoTime") or 0)
    except (TypeError, ValueError):
        return 0.0
