"""Thin slices of a head, 1 mm apart, made of a stack of thick ones, as a series of their own."""

from collections.abc import Iterator

from node import DerivedSeries, NotSuitable, Result, Series, Triton, Volume, codes

HEADS = {"", "HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L), or nothing said."""
LEAST_SLICES = 8
DISTANCES_MM = 2.5, 6.5
"""From slice to slice; the network learned to make 1 mm of these."""
WIDEST_MM = 1.2
"""Pixels are not wider: a plane that is no finer than the slices lends no detail to them."""
LEAST_THICK = 0.7
"""Part of the distance between slices that each is thick, at least."""


def run(mr: Series, triton: Triton) -> Iterator[Result]:
    """Look whether the stack is one of thick slices of a head; have those between made."""
    volume = mr.volume()
    if reason := unsuitable(mr, volume):
        yield NotSuitable(reason)
        return
    given = volume.as_int16()
    answer = triton.infer("mr_superres", image=given, image_affine=volume.affine)
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    yield DerivedSeries(
        array=answer["values"].clip(lowest, highest),  # else stored values could be more than their bits hold
        source=mr,
        description="Thin slices",
        derivation=codes.DCM.SpatialResampling,
        affine=answer["affine"],
    )


def unsuitable(mr: Series, volume: Volume) -> str:
    """Return why the images are no stack of thick slices of a head, empty where they are."""
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
