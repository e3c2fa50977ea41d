"""The results of one study must agree: what two plugins outline on the same images is compared before it is delivered.

The job that ends later is refused, since what ended before may have left. `RULES` says what may not be true together,
by the codes of the segments, so the rules hold for every plugin. Outlines on other images, such as on the PET and the
CT of one study, are not compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.codes import SCT, Code
from node.records import ResultObject
from node.results.stored_masks import BACKGROUND, FrameKey, read_masks

Planes = dict[tuple[str, FrameKey], NDArray[np.bool_]]
"""The pixels of a segment, (row, column), by Series Instance UID and image; images without any are left out."""
Kind = tuple[str, str]
"""Code values of what a segment is, and of its side, "" without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRule:
    """How two outlines of one study must lie. `part` is the common part of both, as a part of the first, 0 to 1."""

    first: Code
    second: Code
    least: float = 0.0
    most: float = 1.0
    source: str

    def fault(self, part: float) -> str:
        """Return what is wrong with a part; empty if nothing is."""
        if part > self.most:
            return f"at most {self.most:.0%} may"
        return f"at least {self.least:.0%} must" if part < self.least else ""


APART = "organs do not lie in each other; the edge of both may have voxels of the other"
RULES = (
    AgreementRule(first=SCT.Liver, second=SCT.Lung, most=0.05, source=APART),
    AgreementRule(first=SCT.Spleen, second=SCT.Lung, most=0.05, source=APART),
    AgreementRule(first=SCT.Liver, second=SCT.Spleen, most=0.05, source=APART),
    AgreementRule(first=SCT.Liver, second=SCT.Bone, most=0.05, source=APART),
    AgreementRule(first=SCT.Bone, second=SCT.Lung, most=0.05, source=APART),
    AgreementRule(
        first=SCT.Nodule,
        second=SCT.Lung,
        least=0.3,
        source="a pulmonary nodule is surrounded by lung (Hansell et al., Radiology 2008;246:697); an outline of lungs "
        "may leave out some of a nodule at the pleura",
    ),
)
LEAST_DICE = 0.7
"""Least Dice of two outlines of the same organ."""
DICE_SOURCE = "readers reach 0.9 for lungs, liver and spleen; below 0.7, one of the outlines is of something else"
SAME_ORGANS = (SCT.Lung, SCT.Liver, SCT.Spleen)
SAME = frozenset(code.value for code in SAME_ORGANS)
COMPARED = SAME | {code.value for rule in RULES for code in (rule.first, rule.second)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOutlines:
    """What a plugin outlined: the planes of each kind of segment, and by its code the labels, joined by "and"."""

    planes: Mapping[Kind, Planes]
    labels: Mapping[str, str]

    def of(self, code: str) -> Planes:
        """Return all that has a code, of whatever side."""
        found: Planes = {}
        for kind, planes in self.planes.items():
            for key, mask in planes.items() if kind[0] == code else ():
                found[key] = found[key] | mask if key in found else mask
        return found


def contradiction(folder: Path, made: Iterable[ResultObject], others: Mapping[str, str]) -> str:
    """Return why the Segmentations of a job contradict those of other plugins; empty if they do not.

    Parameters
    ----------
    folder
        The spool, in which the paths of all objects begin.
    made
        The objects of the job.
    others
        Paths of the Segmentations of other plugins, and the name of the plugin of each.
    """
    mine = outlines_of(folder / stored.path for stored in made if stored.kind == "SEG")
    if not mine.planes:
        return ""
    paths: dict[str, list[Path]] = defaultdict(list)
    for path, plugin in others.items():
        paths[plugin].append(folder / path)
    return next((fault for plugin in paths for fault in faults(mine, outlines_of(paths[plugin]), plugin)), "")


def faults(mine: StudyOutlines, theirs: StudyOutlines, plugin: str) -> Iterator[str]:
    """Yield a sentence for each rule that the outlines of two plugins break."""
    orders = (mine, theirs, ("", f" of {plugin}")), (theirs, mine, (f" of {plugin}", ""))
    for rule in RULES:
        first, second = rule.first.value, rule.second.value
        for inner, outer, owners in orders:
            part = common_part(inner.of(first), outer.of(second))
            if part is not None and (wrong := rule.fault(part)):
                lies = f"{part:.0%} of {inner.labels[first]}{owners[0]} lie in {outer.labels[second]}{owners[1]}"
                yield f"{lies}; {wrong}"
    for kind in mine.planes.keys() & theirs.planes.keys():
        dice = dice_of(mine.planes[kind], theirs.planes[kind]) if kind[0] in SAME else None
        if dice is not None and dice < LEAST_DICE:
            organ = mine.labels[kind[0]]
            yield f"{organ} and what {plugin} outlines as such differ: their Dice is {dice:.2f}, less than {LEAST_DICE}"


def common_part(first: Planes, second: Planes) -> float | None:
    """Return the part of the first outline that lies in the second, on the series of both; None if they share none."""
    shared = {series for series, _ in first} & {series for series, _ in second}
    total = sum(int(mask.sum()) for (series, _), mask in first.items() if series in shared)
    both = sum(int((first[key] & second[key]).sum()) for key in first.keys() & second.keys())
    return both / total if total else None


def dice_of(first: Planes, second: Planes) -> float | None:
    """Return the Dice of two outlines on the series of both; None if they share none."""
    parts = common_part(first, second), common_part(second, first)
    if parts[0] is None or parts[1] is None:
        return None
    return 2 * parts[0] * parts[1] / max(parts[0] + parts[1], 1e-9)


def outlines_of(paths: Iterable[Path]) -> StudyOutlines:
    """Read the segments that the rules name from stored Segmentations; of two of one image, the union."""
    planes: dict[Kind, Planes] = defaultdict(dict)
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for path in paths:
        made = dcmread(path) if path.is_file() else Dataset()
        if made.get("Modality") != "SEG":
            continue
        kinds = {number: kind for number, kind, _ in _named(made)}
        for _, (code, _), label in _named(made):
            names[code][label] = None
        series = str(made.ReferencedSeriesSequence[0].SeriesInstanceUID)
        for image, number, mask in read_masks(made) if kinds else ():
            if number in kinds and mask.any():
                here, key = planes[kinds[number]], (series, image)
                here[key] = here[key] | mask if key in here else mask
    return StudyOutlines(planes=dict(planes), labels={code: " and ".join(found) for code, found in names.items()})


def _named(made: Dataset) -> Iterator[tuple[int, Kind, str]]:
    """Yield number, kind and label of each segment that a rule names."""
    for item in made.SegmentSequence:
        kind = item.SegmentedPropertyTypeCodeSequence[0] if item.SegmentNumber != BACKGROUND else Dataset()
        sides = kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()
        if kind.get("CodeValue") in COMPARED:
            side = str(sides[0].CodeValue) if sides else ""
            yield int(item.SegmentNumber), (str(kind.CodeValue), side), str(item.SegmentLabel)
