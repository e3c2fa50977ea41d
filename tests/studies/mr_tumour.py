"""A head with a tumour in T1 before and after contrast medium, T2 and FLAIR, on three grids."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from node import testing
from node.training.phantoms import tumour

SEED = 11


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a series is acquired: slices, rows, mm from slice to slice and from pixel to pixel, further attributes."""

    description: str
    slices: int
    rows: int
    spacing: tuple[float, float]
    values: dict[str, Any] = field(default_factory=dict)


FAST = {"ScanningSequence": "GR", "RepetitionTime": 8, "EchoTime": 3, "FlipAngle": 12, "MRAcquisitionType": "3D"}
PROTOCOLS = {
    "t1": Protocol(description="T1 3D", slices=50, rows=72, spacing=(3.0, 3.2), values=FAST),
    "t1c": Protocol(
        description="T1 3D GD", slices=50, rows=72, spacing=(3.0, 3.2),
        values={**FAST, "ContrastBolusAgent": "GADOBUTROL"},
    ),
    "t2": Protocol(
        description="T2 TSE", slices=30, rows=96, spacing=(5.0, 2.4),
        values={"ScanningSequence": "SE", "SequenceVariant": "SK", "RepetitionTime": 4500, "EchoTime": 100},
    ),
    "flair": Protocol(
        description="FLAIR", slices=30, rows=80, spacing=(5.0, 2.9),
        values={
            "ScanningSequence": ["SE", "IR"], "SequenceVariant": "SK", "RepetitionTime": 9000, "EchoTime": 120,
            "InversionTime": 2500,
        },
    ),
}  # fmt: skip


def truth(role: str, seed: int = SEED, *, diseased: bool = True) -> NDArray[np.uint8]:
    """Return the tissues on the grid of a role's series."""
    protocol = PROTOCOLS[role]
    return tumour.tissues(tumour.grid(protocol.slices, protocol.rows, protocol.spacing), seed, tumour=diseased)


def series(role: str, seed: int = SEED, *, diseased: bool = True) -> list[Dataset]:
    """Return the series of a role."""
    protocol = PROTOCOLS[role]
    random = np.random.default_rng([seed, len(role), protocol.rows])
    array = tumour.seen(truth(role, seed, diseased=diseased), role, random)
    corner = -(protocol.rows - 1) / 2 * protocol.spacing[1]
    made = testing.mr_series(
        array=array,
        spacing=(protocol.spacing[0], protocol.spacing[1], protocol.spacing[1]),
        origin=(corner, corner, -(protocol.slices - 1) / 2 * protocol.spacing[0]),
        series=role,
        description=protocol.description,
        seed=f"tumour {seed}",
    )
    for image in made:
        image.BodyPartExamined = "HEAD"
        for keyword, value in protocol.values.items():
            setattr(image, keyword, value)
    return made


def images() -> list[Dataset]:
    """Return the four series of one study."""
    return [image for role in PROTOCOLS for image in series(role)]
