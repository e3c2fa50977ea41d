"""Outline a lesion in a photograph of skin, and give the probability of each of seven kinds."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from node import Code, Finding, Heatmap, NotSuitable, Result, Segment, Segmentation, Series, Summary, Triton, codes

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
PRESENT, POSSIBLE = 0.5, 0.2
"""Scores add up to 1. One from half on outweighs all others; one below a fifth is not in question."""
LEAST_PIXELS = 100
LEAST_PART = 0.005
"""Least part of the photograph that a lesion fills: the kind of a smaller one cannot be recognised."""


def run(photo: Series, triton: Triton) -> Iterator[Result]:
    """Check that it is a photograph of skin; ask one network for the outline, and another for the kind."""
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
    for kind, score in zip(KINDS, probabilities.tolist(), strict=True):
        yield Finding(name=kind, score=score, threshold=PRESENT, indeterminate_from=POSSIBLE, of=LESION)
    yield Heatmap(
        array=answer["maps"][0],
        source=photo,
        name=codes.DCM.ClassActivation,
        label="Where the likeliest kind was seen",
        window=(0.0, 1.0),
    )
    likeliest, score = KINDS[int(probabilities.argmax())].meaning, float(probabilities.max())
    name = likeliest.partition(":")[0].removesuffix(" of skin")
    doubt = "" if score >= PRESENT else ", too low to be called present"
    text = f"Lesion outlined; likeliest kind: {name} (score {score:.2g}{doubt})"
    yield Summary(text, glance=name if score >= PRESENT else "kind uncertain")


def unsuitable(photo: Series, picture: NDArray[Any]) -> str:
    """Return why the photograph is not suitable; empty if it is a photograph of skin."""
    return next((sentence for wrong, sentence in faults(photo, picture) if wrong), "")


def faults(photo: Series, picture: NDArray[Any]) -> Iterator[tuple[bool, str]]:
    """Yield whether each fault is present, and its sentence. Its guard has judged the colours."""
    inner = photo.modality == "ES" and not of_skin(photo)
    yield inner, "it is of an endoscope, and its header does not say that it shows skin"
    yield len(photo.frames) > 1, f"it has {len(photo.frames)} frames, and is a film, not one photograph"
    yield picture.ndim == 2, "the photograph is not in colour"
    high, wide = picture.shape[:2]
    yield min(high, wide) < LEAST_PIXELS, f"it has {high} × {wide} pixels, too few to tell lesions apart"


def of_skin(photo: Series) -> bool:
    """Return whether the header names the skin."""
    regions = [str(item.get("CodeMeaning") or "") for item in photo.header.get("AnatomicRegionSequence") or ()]
    return "skin" in " ".join([str(photo.header.get("BodyPartExamined") or ""), *regions]).lower()
