"""Outline the right and left lung in a chest CT, and give volume, mean density, LAA-950 and Perc15."""

from collections.abc import Iterator

from node import (
    Acquisition,
    Caveat,
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

RIGHT, LEFT = (
    Segment(label=f"{side.meaning} lung", type=codes.SCT.Lung, category=codes.SCT.Organ, laterality=side, color=color)
    for side, color in ((codes.SCT.Right, (70, 160, 220)), (codes.SCT.Left, (240, 170, 60)))
)
LAA_950 = codes.Code("RDE1953", "RADELEMENT", "Emphysema scale (% - 950hu)")
"""RadElement set RDES286; no DICOM table has the percentage of voxels below -950 HU."""
PERC15 = codes.own("PERC15", "15th percentile of lung attenuation (Perc15)")
EMPHYSEMA = LAA_950, PERC15
COLUMNS = (
    {"name": codes.SCT.Volume, "unit": codes.UCUM.CubicCentimeter},
    {"name": codes.DCM.MeanAttenuationCoefficient, "unit": codes.UCUM.HounsfieldUnit},
    {"name": LAA_950, "unit": codes.UCUM.Percent},
    {"name": PERC15, "unit": codes.UCUM.HounsfieldUnit, "percentile": 15},
)
"""The measurements in the columns of the model's statistics."""
ROWS = ({"of": RIGHT}, {"of": LEFT}, {"site": codes.SCT.Lung, "laterality": codes.SCT.Bilateral})
"""The subjects in the rows of the model's statistics."""
DIGITS = 1


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask the model for the lungs; if it does not find them, report its reason."""
    volume = ct.volume().as_int16()
    answer = triton.infer("ct_lung", image=volume, affine=volume.affine)
    if reason := str(answer["reason"][0]):
        yield NotSuitable(reason)
        return
    how = Acquisition.of(ct.header)
    invalid = without_emphysema(how)
    yield Segmentation(labels=volume.with_array(answer["labels"]), segments=[RIGHT, LEFT])
    for row, values in zip(ROWS, answer["statistics"].round(DIGITS), strict=True):
        for column, value in zip(COLUMNS, values, strict=True):
            if not (invalid and column["name"] in EMPHYSEMA):
                yield Measurement(value=value, **column, **row)
    millilitres, _, emphysema, _ = answer["statistics"][-1].tolist()
    lungs = f"Lungs outlined, {millilitres:.0f} ml"
    acquired = f"acquired with {how.in_words()}; depth of inspiration is not known."
    if invalid:
        yield Caveat(f"No emphysema index and no 15th percentile: {invalid}. Volume and density: {acquired}")
        yield Summary(f"{lungs}; no emphysema index: {invalid}", glance=f"lungs {millilitres:.0f} ml")
    else:
        unknown = "" if how.sharp is False else " It is not known whether the kernel is smooth."
        yield Caveat(f"Emphysema index and 15th percentile: {acquired}{unknown}")
        index = f"{emphysema:.0f} %" if emphysema >= 1 else "below 1 %"
        yield Summary(f"{lungs}; emphysema index {index}", glance=f"emphysema {index}")


def without_emphysema(how: Acquisition) -> str:
    """Return why measures of emphysema are invalid; empty if they may be valid (RSNA QIBA Profile CT Lung Density)."""
    if how.contrast:
        return "contrast medium was given, which makes the lungs denser"
    if how.sharp:
        return f"kernel {how.kernel} is sharp, and its noise counts as emphysema"
    return ""
