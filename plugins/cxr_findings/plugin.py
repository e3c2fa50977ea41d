"""Give twenty findings in a chest radiograph, with probabilities and maps of their positions."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from node import Code, Finding, Heatmap, NotSuitable, Result, Series, Summary, Triton, codes

FINDINGS = (
    Code("46621007", "SCT", "Atelectasis"),
    codes.SCT.PathologicCalcification,
    Code("8186001", "SCT", "Cardiomegaly"),
    Code("95436008", "SCT", "Lung consolidation"),
    codes.SCT.PleuralEffusion,
    Code("87433001", "SCT", "Pulmonary emphysema"),
    codes.own("ENLARGED_CARDIOMEDIASTINUM", "Enlarged cardiomediastinum"),
    Code("51615001", "SCT", "Pulmonary fibrosis"),
    Code("125605004", "SCT", "Fracture of bone"),
    Code("84089009", "SCT", "Hiatal hernia"),
    codes.DCM.Infiltrate,
    codes.own("LUNG_LESION", "Lung lesion"),
    codes.DCM.Opacity,
    codes.SCT.Mass,
    codes.SCT.Nodule,
    codes.SCT.PulmonaryEdema,
    codes.own("PLEURAL_THICKENING", "Pleural thickening"),
    Code("233604007", "SCT", "Pneumonia"),
    codes.SCT.Pneumothorax,
    codes.own("SUPPORT_DEVICES", "Support devices"),
)
"""In the order of the model's classes."""
PRESENT = 0.5
LIKE_A_CHEST = 0.5
"""Least correlation with two lungs, by model cxr_quality, of the images that are asked about beside the best one."""
LEAST_PIXELS = 128
"""Least number of rows and of columns."""


def run(xray: Series, triton: Triton) -> Iterator[Result]:
    """Turn frontal views upright and ask the network. The probability of a finding is the highest of all views."""
    if reason := unsuitable(xray):
        yield NotSuitable(reason)
        return
    images = [upright(xray, index, xray.brightness(index)) for index in range(len(xray.frames))]
    likeness = [float(triton.infer("cxr_quality", image=image)["chest"][0]) for image in images]
    views = frontal_views(images, likeness)
    answer = triton.infer("cxr_findings", image=np.stack(list(views.values())))
    probabilities = answer["probabilities"].max(0).tolist()
    for name, probability in zip(FINDINGS, probabilities, strict=True):
        yield Finding(name=name, score=probability, threshold=PRESENT)
    for number, seen in zip(answer["shown"].tolist(), answer["maps"], strict=True):
        if probabilities[number] >= PRESENT:
            yield shown(xray, FINDINGS[number].meaning, dict(zip(views, seen, strict=True)))
    if max(probabilities) < PRESENT:
        yield Summary(f"None of the {len(FINDINGS)} findings that were looked for was found", glance="no finding")


def frontal_views(images: Sequence[NDArray[np.float32]], likeness: Sequence[float]) -> dict[int, NDArray[np.float32]]:
    """Return the frontal views by their number, negatives inverted.

    The guard has found one in the series. Collapse and effusion make a chest unlike two lungs: if no image is like
    them, the one most like them is taken.
    """
    clear = [number for number, like in enumerate(likeness) if abs(like) >= LIKE_A_CHEST]
    chosen = clear or [max(range(len(images)), key=lambda number: likeness[number])]
    return {number: -images[number] if likeness[number] <= -LIKE_A_CHEST else images[number] for number in chosen}


def unsuitable(xray: Series) -> str:
    """Return why the images are not suitable; empty if they are large enough."""
    rows, columns = int(xray.header.Rows), int(xray.header.Columns)
    if min(rows, columns) < LEAST_PIXELS:
        return f"the images have {rows} rows and {columns} columns: fewer than {LEAST_PIXELS} show too little"
    return ""


def upright(xray: Series, index: int, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a plane (row, column) with the head up and the patient's right on the left; applied again, undo that.

    Patient Orientation (PS3.3 C.7.6.1.1.1) gives the direction of rows and columns; without it nothing changes.
    """
    along_row, down = [*(xray.frames[index].header.get("PatientOrientation") or ()), "", ""][:2]
    turned = plane[:: -1 if down.startswith("H") else 1, :: -1 if along_row.startswith("R") else 1]
    return np.ascontiguousarray(turned)


def shown(xray: Series, name: str, maps: dict[int, NDArray[np.float32]]) -> Heatmap:
    """Return the heat map of a finding on all images of the series; it is 0 on images that are no frontal views."""
    planes = np.zeros((len(xray.frames), *next(iter(maps.values())).shape), np.float32)
    for index, seen in maps.items():
        planes[index] = upright(xray, index, seen)
    return Heatmap(
        array=planes,
        source=xray,
        name=codes.DCM.ClassActivation,
        label=f"Where it was seen: {name}",
        window=(0.0, 1.0),
    )
