"""Make a derived series of slices 1 mm apart from a stack of thick slices of a head."""

from collections.abc import Iterator

from node import DerivedSeries, NotSuitable, Result, Series, Summary, Triton, Volume, codes

HEADS = {"", "HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L), or empty."""
LEAST_SLICES = 8
DISTANCES_MM = 2.5, 6.5
"""Distances of slices from which the network learned to make 1 mm."""
WIDEST_MM = 1.2
"""Largest width of pixels: the plane must be finer than the slices."""
LEAST_THICK = 0.7
"""Least thickness of a slice, as a part of the distance between slices."""


def run(mr: Series, triton: Triton) -> Iterator[Result]:
    """Check that the stack has thick slices of a head, and make the slices between."""
    volume = mr.volume()
    if reason := unsuitable(mr, volume):
        yield NotSuitable(reason)
        return
    given = volume.as_int16()
    answer = triton.infer("mr_superres", image=given, affine=volume.affine)
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    yield DerivedSeries(
        array=answer["values"].clip(lowest, highest),  # stored values must fit their bits
        source=mr,
        description="Thin slices",
        derivation=codes.DCM.SpatialResampling,
        affine=answer["affine"],
    )
    apart = f"{volume.spacing[0]:.1f} mm"
    yield Summary(f"Slices between those that were measured, {apart} apart, were estimated", glance="thin slices")


def unsuitable(mr: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are a stack of thick slices of a head."""
    part = str(mr.header.get("BodyPartExamined") or "").upper()
    distance, width = volume.spacing[0], max(volume.spacing[1:])
    thickness = float(mr.header.get("SliceThickness") or distance)
    low, high = DISTANCES_MM
    reasons = {
        "they were never measured: the header says that they are synthetic": mr.header.get("SyntheticData") == "YES",
        f"they are of another part of the body: Body Part Examined is {part}": part not in HEADS,
        "they are frames of one image, of which no slices of another thickness can be made": mr.frames[0].multi_frame,
        f"{len(volume.array)} slices are too few": len(volume.array) < LEAST_SLICES,
        f"their slices are {distance:.1f} mm apart, which is thin already": distance < low,
        f"their slices are {distance:.1f} mm apart, more than {high} mm": distance > high,
        f"their pixels are {width:.1f} mm wide, more than {WIDEST_MM} mm": width > WIDEST_MM,
        f"between slices {thickness:.1f} mm thick lies what was never seen: they are {distance:.1f} mm apart": (
            thickness < LEAST_THICK * distance
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
