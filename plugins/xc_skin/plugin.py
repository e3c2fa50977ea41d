"""A lesion in a photograph of skin: its outline, and how probable each of seven kinds is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import Code, Finding, Heatmap, NotSuitable, Result, Segment, Segmentation, Series, Triton, codes

KINDS = (
    Code("201101007", "SCT", "Actinic keratosis"),
    Code("254701007", "SCT", "Basal cell carcinoma of skin"),
    codes.own("BENIGN_KERATOSIS", "Benign keratosis: seborrhoeic, solar lentigo, lichen planus-like"),
    codes.own("DERMATOFIBROMA", "Dermatofibroma"),
    Code("93655004", "SCT", "Malignant melanoma of skin"),
    Code("400096001", "SCT", "Melanocytic nevus of skin"),
    codes.own("VASCULAR_SKIN_LESION", "Vascular lesion of skin"),
)
"""In the order of the model's classes, those of HAM10000 (Tschandl et al. 2018)."""
LESION = Segment(
    label="Lesion",
    type=codes.SCT.Lesion,
    category=codes.SCT.MorphologicallyAbnormalStructure,
    region=codes.SCT.Skin,
)
LEAST_PIXELS = 100
LEAST_PART = 0.005
"""Part of the photograph that a lesion fills at the least: less cannot be told apart by kind."""
MARGIN = 10
"""Rows and columns at the edges, where skin is seen and no lesion."""


def run(photo: Series, triton: Triton) -> Iterator[Result]:
    """Look whether it is a photograph of skin; ask one network for the outline, and one for the kind."""
    picture = photo.image()
    if reason := unsuitable(photo, picture):
        yield NotSuitable(reason)
        return
    labels = triton.infer("xc_skin_lesion", image=picture[None])["labels"]
    if labels.mean() < LEAST_PART:
        yield NotSuitable("no lesion is seen in it")
        return
    yield Segmentation(labels=photo.on_pixels(labels), segments=[LESION])
    answer = triton.infer("xc_skin", image=picture[None])
    (probabilities,) = answer["probabilities"]
    likeliest = int(probabilities.argmax())
    for number, (kind, probability) in enumerate(zip(KINDS, probabilities.tolist(), strict=True)):
        yield Finding(name=kind, present=number == likeliest, probability=probability, of=LESION)
    yield Heatmap(
        array=answer["maps"][0],
        source=photo,
        name=codes.DCM.ClassActivation,
        label="Where the likeliest kind was seen",
        window=(0.0, 1.0),
    )


def unsuitable(photo: Series, picture: NDArray[Any]) -> str:
    """Return why this is no photograph of skin, empty where it is one."""
    return next((sentence for wrong, sentence in faults(photo, picture) if wrong), "")


def faults(photo: Series, picture: NDArray[Any]) -> Iterator[tuple[bool, str]]:
    """Tell what may be wrong with a photograph, and whether it is; what comes later may need what came before."""
    inner = photo.modality == "ES" and not of_skin(photo)
    yield inner, "it is of an endoscope, and its header does not say that it shows skin"
    yield len(photo.frames) > 1, f"it has {len(photo.frames)} frames, and is a film, not one photograph"
    yield picture.ndim == 2, "the photograph is not in colour"
    high, wide = picture.shape[:2]
    yield min(high, wide) < LEAST_PIXELS, f"it has {high} × {wide} pixels, too few to tell lesions apart"
    edges = [picture[:MARGIN], picture[-MARGIN:], picture[:, :MARGIN], picture[:, -MARGIN:]]
    red, green, blue = np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)
    yield not red > green >= blue, "its margin has not the colour of skin"


def of_skin(photo: Series) -> bool:
    """Say whether the header names the skin."""
    regions = [str(one.get("CodeMeaning") or "") for one in photo.header.get("AnatomicRegionSequence") or ()]
    return "skin" in " ".join([str(photo.header.get("BodyPartExamined") or ""), *regions]).lower()
