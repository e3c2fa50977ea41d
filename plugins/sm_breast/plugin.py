"""Classify breast tissue on a slide as normal, benign, in situ or invasive: each field, and the whole slide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node import Code, Finding, Heatmap, KeyImages, Measurement, NotSuitable, Result, Series, Summary, Triton, codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """A class of tissue, and the codes of its presence, of its part of the tissue, and of being the worst class."""

    meaning: str
    name: Code
    part: Code
    worst: Code


CLASSES = tuple(
    Class(
        meaning=meaning,
        name=name,
        part=codes.own(f"PART_{key.upper()}", f"Part of the tissue that is {meaning}"),
        worst=codes.own(f"SLIDE_{key.upper()}", f"The slide as a whole: {meaning}"),
    )
    for key, meaning, name in (
        ("normal", "normal", codes.DCM.NormalBreastTissue),
        ("benign", "benign lesion", codes.own("BENIGN_BREAST", "Benign lesion of breast")),
        ("in_situ", "carcinoma in situ", Code("189336000", "SCT", "Carcinoma in situ of breast")),
        ("invasive", "invasive carcinoma", Code("713609000", "SCT", "Invasive carcinoma of breast")),
    )
)
"""In the order of the model's classes, those of BACH (Aresta et al. 2019). Each is worse than the previous class."""
IN_SITU = 2
"""This class and the following are carcinoma."""
PRESENT = 0.5
RARE = 0.05
"""A class is present on the slide if it is probable in more than this part of the fields with tissue."""
FIELD_MM = 0.256
"""Width of a field that the network sees at once; tiles are joined to about that width."""
LARGEST_TILE_MM = 0.4
COARSEST_MM = 0.002
"""Largest distance of pixels: nuclei are not visible on coarser slides."""
COLOURED, LEAST_TISSUE = 20, 0.1
"""Difference of colours in stained tissue, of 255, and the least part of a field that has it. Glass has no colour."""
AT_ONCE = 8
"""Number of fields sent at once. Memory does not grow with the slide."""
MOST_IMAGES = 5


def run(slide: Series, triton: Triton) -> Iterator[Result]:
    """Check that it is a slide of breast tissue, and ask the network about the fields with tissue."""
    if reason := unsuitable(slide):
        yield NotSuitable(reason)
        return
    fields = joined(slide)
    tissue, probabilities = asked(slide, fields, triton)
    if not len(tissue):
        yield NotSuitable("no stained tissue is seen on it")
        return
    parts = np.bincount(probabilities.argmax(1), minlength=len(CLASSES)) / len(tissue)
    for kind, part in zip(CLASSES, parts.tolist(), strict=True):
        yield Measurement(name=kind.part, value=round(100 * part, 1), unit=codes.UCUM.Percent)
    likely = np.quantile(probabilities, 1 - RARE, axis=0)
    yield from classes(likely)
    carcinoma = probabilities[:, IN_SITU:].sum(1)
    tiles = np.zeros(len(slide.frames), np.float32)
    for field, probability in zip(fields[tissue], carcinoma, strict=True):
        tiles[field] = probability
    shape = len(tiles), int(slide.header.Rows), int(slide.header.Columns)
    yield Heatmap(
        array=np.broadcast_to(tiles[:, None, None], shape),  # in memory there is one number for each tile
        source=slide,
        name=codes.DCM.Probability,
        label="Carcinoma, field by field",
        window=(0.0, 1.0),
    )
    most_probable = [
        index for index in np.argsort(-carcinoma, kind="stable")[:MOST_IMAGES] if carcinoma[index] >= PRESENT
    ]
    if most_probable:
        middle = fields.shape[1] // 2
        images = [slide.frames[fields[tissue[index], middle, middle]] for index in most_probable]
        yield KeyImages(images=images, description="Where carcinoma is likeliest")
    worst = worst_of(likely)
    said = ", ".join(f"{kind.meaning} {part:.0%}" for kind, part in zip(CLASSES, parts.tolist(), strict=True))
    yield Summary(f"The slide as a whole: {worst.meaning}. Of the tissue: {said}", glance=worst.meaning)


def classes(probabilities: NDArray[np.float64]) -> Iterator[Finding]:
    """Yield which classes are on the slide, and the worst of them: normal tissue may lie beside a carcinoma."""
    for kind, score in zip(CLASSES, probabilities.tolist(), strict=True):
        yield Finding(name=kind.name, score=score, threshold=PRESENT, notable=kind is not CLASSES[0])
    worst = worst_of(probabilities)
    yield Finding(name=worst.worst, present=True, notable=worst is not CLASSES[0])


def worst_of(probabilities: NDArray[np.float64]) -> Class:
    """Return the worst class that is present."""
    present = np.flatnonzero(probabilities >= PRESENT)
    return CLASSES[int(present[-1]) if len(present) else 0]


def asked(slide: Series, fields: NDArray[np.int64], triton: Triton) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which fields have tissue, and the probabilities of their classes, (field, class)."""
    tissue: list[int] = []
    answers = [np.zeros((0, len(CLASSES)), np.float32)]
    waiting: list[NDArray[np.uint8]] = []
    for number, field in enumerate(fields):
        picture = seen(slide, field)
        if (np.ptp(picture, axis=2) > COLOURED).mean() >= LEAST_TISSUE:
            tissue.append(number)
            waiting.append(picture)
        if waiting and (len(waiting) == AT_ONCE or number == len(fields) - 1):
            answers.append(triton.infer("sm_breast", image=np.stack(waiting))["probabilities"])
            waiting.clear()
    return np.array(tissue, np.int64), np.concatenate(answers)


def seen(slide: Series, field: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the tiles of a field, (down, across), as one picture: (row, column, 3)."""
    tiles = iter(slide.read([slide.frames[index] for index in field.ravel()]))
    return np.concatenate([np.concatenate([next(tiles) for _ in line], axis=1) for line in field], axis=0)


def joined(slide: Series) -> NDArray[np.int64]:
    """Return the indices of the tiles of every field: (field, down, across). The last fields overlap those before.

    Tiles are numbered row by row (PS3.3 C.7.6.17.3).
    """
    down, across = layout(slide)
    count = tiles_along(slide)
    tops, lefts = (np.minimum(np.arange(0, length, count), length - count) for length in (down, across))
    corners = tops[:, None] * across + lefts
    block = np.arange(count)[:, None] * across + np.arange(count)
    return np.asarray(corners.reshape(-1, 1, 1) + block)


def layout(slide: Series) -> tuple[int, int]:
    """Return the number of tiles down and across."""
    header = slide.header
    return -(-header.TotalPixelMatrixRows // header.Rows), -(-header.TotalPixelMatrixColumns // header.Columns)


def tiles_along(slide: Series) -> int:
    """Return the number of tiles along each edge of a field."""
    return max(1, round(FIELD_MM / (spacing(slide) * int(slide.header.Columns))))


def spacing(slide: Series) -> float:
    """Return the distance of pixels in mm, 0 if the header does not have it."""
    for shared in slide.header.get("SharedFunctionalGroupsSequence") or ():
        for measures in shared.get("PixelMeasuresSequence") or ():
            if values := measures.get("PixelSpacing"):
                return float(values[0])
    return 0.0


def unsuitable(slide: Series) -> str:
    """Return why the slide is not suitable; empty if it is a slide of breast tissue that can be analysed."""
    return next((sentence for wrong, sentence in faults(slide) if wrong), "")


def faults(slide: Series) -> Iterator[tuple[bool, str]]:
    """Yield whether each fault is present, and its sentence. Later checks may rely on earlier ones."""
    header, distance = slide.header, spacing(slide)
    for organ in organs(slide):
        yield "breast" not in organ.lower(), f"the header says that the specimen is of another organ: {organ}"
    yield header.get("SamplesPerPixel") != 3, "the slide is not in colour"
    tiled = header.get("DimensionOrganizationType") == "TILED_FULL"
    yield not tiled, "its tiles do not cover the slide in rows and columns (TILED_FULL)"
    down, across = layout(slide)
    count = len(slide.frames)
    several = f"it has {count} frames for {down * across} tiles: several focal planes or optical paths"
    yield count != down * across, several
    coarse = f"its pixels are {1000 * distance:.1f} µm apart, and nuclei are seen up to {1000 * COARSEST_MM:.0f} µm"
    yield not 0 < distance <= COARSEST_MM, coarse
    wide = max(header.Rows, header.Columns) * distance
    yield wide > LARGEST_TILE_MM, f"its tiles are {wide:.2f} mm wide, more than {LARGEST_TILE_MM} mm"
    yield min(down, across) < tiles_along(slide), f"it is smaller than the {FIELD_MM} mm that are looked at together"


def organs(slide: Series) -> Iterator[str]:
    """Yield the organs of the specimens by the header (PS3.3 C.7.6.22)."""
    for specimen in slide.header.get("SpecimenDescriptionSequence") or ():
        for organ in specimen.get("PrimaryAnatomicStructureSequence") or ():
            yield str(organ.get("CodeMeaning") or "")
