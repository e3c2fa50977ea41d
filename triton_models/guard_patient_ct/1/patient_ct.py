"""Is it a living body in CT: soft tissue, fat and bone by their HU, and neither noise nor a phantom of one material?

The limits are physics: fat is about -100 HU, soft tissue 0 to 80, with contrast medium up to 150, bone above 200, and
air -1000. A phantom of plastic and water lacks one of them; MR, inverted CT and noise lack their shares.
"""

from collections.abc import Callable

from serving.body import Body, body_of, to_coarse_grid
from serving.guarding import Answer, Check, answer_by_checks
from torch import Tensor

COARSE_MM = 5.0
LEAST_ML = 50.0
LEAST_ALIKE = 0.3  # noise has 0; the least of eight real CTs has 0.66
LEAST_SPREAD_HU = 40.0  # a cylinder of one material has its noise alone; the least of real ones has 77
LEAST_SOFT, LEAST_FAT, LEAST_BONE = 0.15, 0.03, 0.005
# the least of real CTs have 0.39, 0.13 and 0.015; ACR's phantom has 0.014 fat


def share_check(tissue: str, share: Callable[[Body], float], least: float, digits: int = 1) -> Check[Body]:
    """Return the check that a tissue has at least its share of a body."""
    return Check(
        lambda body: share(body) >= least,
        lambda body: f"{share(body):.{digits}%} of what is seen have the HU of {tissue}, too little for a body in CT",
    )


CHECKS: tuple[Check[Body], ...] = (
    Check(
        lambda body: body.ml >= LEAST_ML,
        lambda body: f"only {body.ml:.0f} ml of tissue are seen, too little for a part of a body in CT",
    ),
    Check(
        lambda body: body.spread >= LEAST_SPREAD_HU,
        lambda body: f"the pixels are of one material, with a spread of {body.spread:.0f} HU: a phantom, not a body",
    ),
    Check(
        lambda body: body.alike >= LEAST_ALIKE,
        "the values are noise: neighbouring voxels have nothing in common",
    ),
    share_check("soft tissue", lambda body: body.soft, LEAST_SOFT, digits=0),
    share_check("fat", lambda body: body.fat, LEAST_FAT),
    share_check("bone", lambda body: body.bone, LEAST_BONE),
)


def judge(volume: Tensor, affine: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether a CT shows a living body. See docs/plugin-author.md for what is given and returned."""
    return answer_by_checks(body_of(to_coarse_grid(volume, affine, COARSE_MM)), CHECKS)
