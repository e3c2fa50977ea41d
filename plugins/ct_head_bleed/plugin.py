"""Detect blood inside the skull in a CT of the head: kinds with probabilities, a heat map, and key images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from node import Code, Finding, Heatmap, KeyImages, NotSuitable, Result, Series, Summary, Triton, Volume, codes

KINDS = (
    codes.SCT.IntracranialHemorrhage,
    Code("82999001", "SCT", "Epidural intracranial hemorrhage"),
    Code("274100004", "SCT", "Cerebral hemorrhage"),
    codes.own("INTRAVENTRICULAR_HAEMORRHAGE", "Intraventricular haemorrhage"),
    Code("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
    Code("35486000", "SCT", "Subdural intracranial hemorrhage"),
)
"""In the order of the model's classes: any haemorrhage, epidural, intraparenchymal, intraventricular and so on."""
PRESENT = 0.5
HEADS = {"HEAD", "BRAIN", "SKULL", "HEADNECK"}
"""Body Part Examined of a head (PS3.16 Annex L)."""
LEAST_SLICES, LEAST_MM = 8, 60.0
WIDEST_MM = 230.0
"""Heads are narrower; shoulders, chest and abdomen are wider."""
BODY_HU, BONE_HU = -300, 300
LEAST_BONE = 0.08
"""Least part of a slice through a head that is bone. Other parts of the body have less bone."""
MOST_IMAGES = 5


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Check that it is a head without contrast medium, and ask the network about each slice."""
    volume = ct.volume()
    if reason := unsuitable(ct, volume):
        yield NotSuitable(reason)
        return
    answer = triton.infer("ct_head_bleed", image=volume.with_array(volume.array.astype(np.float32)))
    planes = answer["probabilities"]
    for kind, probability in zip(KINDS, planes.max(0).tolist(), strict=True):
        yield Finding(name=kind, score=probability, threshold=PRESENT)
    if planes[:, 0].max() < PRESENT:
        yield Summary("No haemorrhage inside the skull found", glance="no haemorrhage found")
        return
    yield Heatmap(
        array=answer["maps"][0],
        source=ct,
        name=codes.DCM.ClassActivation,
        label="Where haemorrhage was seen",
        window=(0.0, 1.0),
    )
    yield KeyImages(
        images=[ct.frames[index] for index in key_images(planes[:, 0])], description="Where haemorrhage is likeliest"
    )
    seen = [kind.meaning for kind, score in zip(KINDS, planes.max(0), strict=True) if score >= PRESENT]
    yield Summary("; ".join(seen) + " found", glance="haemorrhage found")


def key_images(probabilities: NDArray[np.float32]) -> list[int]:
    """Return the slices that most probably show blood, in the order of the stack."""
    most_probable = np.argsort(-probabilities, kind="stable")[:MOST_IMAGES]
    return sorted(int(index) for index in most_probable if probabilities[index] >= PRESENT)


def unsuitable(ct: Series, volume: Volume) -> str:
    """Return why the images are not suitable; empty if they are a CT of the head without contrast medium."""
    part = str(ct.header.get("BodyPartExamined") or "").upper()
    if part and part not in HEADS:
        return f"they are of another part of the body: Body Part Examined is {part}"
    if ct.header.get("ContrastBolusAgent"):
        return "contrast medium was given, and looks like blood"
    height = volume.spacing[0] * len(volume.array)
    if len(volume.array) < LEAST_SLICES or height < LEAST_MM:
        return f"{len(volume.array)} slices over {height:.0f} mm are too few for a head"
    middle = volume.array[len(volume.array) // 2]
    body = middle > BODY_HU
    width = np.count_nonzero(body.any(0)) * volume.spacing[2]
    if width > WIDEST_MM:
        return f"the body is {width:.0f} mm wide, too wide for a head"
    if not body.any() or (middle[body] > BONE_HU).mean() < LEAST_BONE:
        return "no skull is seen in its middle slice"
    return ""
