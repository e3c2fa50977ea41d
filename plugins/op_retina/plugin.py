"""Grade diabetic retinopathy in a colour photograph of the retina, show its signs, and outline the vessels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import (
    Caveat,
    Code,
    Finding,
    Heatmap,
    Measurement,
    NotSuitable,
    Result,
    Segment,
    Segmentation,
    Series,
    Summary,
    Triton,
    codes,
)

ANY = Code("4855003", "SCT", "Diabetic retinopathy")
REFERABLE = codes.own("REFERABLE_RETINOPATHY", "Referable diabetic retinopathy: moderate or worse")
GRADES = (
    Code("312903003", "SCT", "Mild nonproliferative diabetic retinopathy"),
    Code("312904009", "SCT", "Moderate nonproliferative diabetic retinopathy"),
    Code("312905005", "SCT", "Severe nonproliferative diabetic retinopathy"),
    Code("59276001", "SCT", "Proliferative diabetic retinopathy"),
)
"""Grades 1 to 4 of the International Clinical Diabetic Retinopathy scale (Wilkinson et al. 2003)."""
PRESENT = 0.5
VESSELS = Segment(label="Retinal vessels", type=codes.SCT.BloodVessel, category=codes.SCT.BodyStructure)
DENSITY = codes.own("RETINAL_VESSEL_DENSITY", "Part of the photographed field that is vessel")
SCT = codes.SCT
BACK_OF_THE_EYE = (SCT.Retina, SCT.OpticNerveHead, SCT.FoveaCentralis, SCT.ChoroidOfEye, SCT.Eye, SCT.BothEyes)
"""Anatomic regions that a photograph of the retina may have in its header (PS3.16 CID 4209)."""
DARK = 20
"""Of 255. A pixel that is darker in every colour lies outside the lit field."""
LEAST_PIXELS = 200
"""Least rows and columns of the lit field: microaneurysms are not visible on fewer."""
LEAST_LIT = 0.5
"""Least part of the box around the field that is lit. A round field fills 0.79 of it."""
REDDER = 1.2
"""Least ratio of mean red to mean green in the light that a retina reflects."""


def run(photo: Series, triton: Triton) -> Iterator[Result]:
    """Check that it is a colour photograph of a retina, and ask both networks about its lit field."""
    picture = photo.image()
    field = lit(picture)
    if reason := unsuitable(photo, picture, field):
        yield NotSuitable(reason)
        return
    shown = np.ascontiguousarray(picture[field])[None]
    answer = triton.infer("op_retina", image=shown)
    levels = np.minimum.accumulate(answer["probabilities"][0])
    yield from graded(levels)
    if levels[0] >= PRESENT:
        yield Heatmap(
            array=restored(answer["maps"][0, 0], field, picture),
            source=photo,
            name=codes.DCM.ClassActivation,
            label="Where signs of retinopathy were seen",
            window=(0.0, 1.0),
        )
    vessels = restored(triton.infer("op_retina_vessels", image=shown)["labels"][0], field, picture)
    yield Segmentation(labels=photo.on_pixels(vessels), segments=[VESSELS])
    percent = 100 * float(vessels.sum()) / float(np.count_nonzero(bright(picture)))
    yield Measurement(name=DENSITY, value=round(percent, 1), unit=codes.UCUM.Percent, of=VESSELS)
    yield Caveat(
        "Graded by the International Clinical Diabetic Retinopathy scale (Wilkinson et al. 2003) from one photograph; "
        "macular oedema is not judged."
    )
    if grade := grade_of(levels):
        yield Summary(f"{GRADES[grade - 1].meaning} (ICDR grade {grade} of 4)", glance=f"retinopathy grade {grade}")
    else:
        yield Summary("No diabetic retinopathy found", glance="no retinopathy found")


def grade_of(levels: NDArray[np.float32]) -> int:
    """Return the grade, 0 to 4, from the scores that it is at least 1, 2, 3 and 4."""
    return int((levels >= PRESENT).sum())


def graded(levels: NDArray[np.float32]) -> Iterator[Finding]:
    """Yield the grade, from the scores that it is at least 1, 2, 3 and 4: the highest that reaches the threshold."""
    grade = grade_of(levels)
    yield Finding(name=ANY, score=float(levels[0]), threshold=PRESENT)
    yield Finding(name=REFERABLE, score=float(levels[1]), threshold=PRESENT)
    for number, name in enumerate(GRADES, 1):
        yield Finding(name=name, present=grade == number)


def bright(picture: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels are lit, (row, column)."""
    return (picture if picture.ndim == 2 else picture.max(2)) > DARK


def lit(picture: NDArray[Any]) -> tuple[slice, slice]:
    """Return rows and columns of the box around the lit field."""
    pixels = bright(picture)
    rows, columns = (np.flatnonzero(pixels.mean(axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def restored(part: NDArray[Any], field: tuple[slice, slice], picture: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the field on the whole photograph, (photograph, row, column), 0 outside the field."""
    whole = np.zeros((1, *picture.shape[:2]), part.dtype)
    whole[0][field] = part
    return whole


def unsuitable(photo: Series, picture: NDArray[Any], field: tuple[slice, slice]) -> str:
    """Return why the photograph is not suitable; empty if it is a colour photograph of a retina."""
    return next((sentence for wrong, sentence in faults(photo, picture, field) if wrong), "")


def faults(photo: Series, picture: NDArray[Any], field: tuple[slice, slice]) -> Iterator[tuple[bool, str]]:
    """Yield whether each fault is present, and its sentence. Later checks may rely on earlier ones."""
    for region in photo.header.get("AnatomicRegionSequence") or ():
        fields = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        code = Code(*(str(region.get(field) or "") for field in fields))
        yield code not in BACK_OF_THE_EYE, f"the header says that it shows another part of the body: {code.meaning}"
    count = len(photo.frames)
    yield count > 1, f"it has {count} frames, and is a sequence or an angiogram, not one photograph"
    yield picture.ndim == 2, "the photograph is not in colour"
    seen = picture[field]
    high, wide = seen.shape[:2]
    yield min(high, wide) < LEAST_PIXELS, f"its lit field has {high} × {wide} pixels, too few to see microaneurysms"
    pixels = bright(seen)
    red, green, blue = seen[pixels].mean(0)
    retina = pixels.mean() >= LEAST_LIT and red >= REDDER * green and red >= blue
    yield not retina, "no red, evenly lit field is seen, as a retina has"
