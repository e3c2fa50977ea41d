"""How objects name others: instances, frames, and series of this study and of others."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from pydicom.dataset import Dataset

from node.images.frame import Frame


def instance(of: Dataset) -> Dataset:
    """Return a reference to an instance (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = of.SOPClassUID
    item.ReferencedSOPInstanceUID = of.SOPInstanceUID
    return item


def image(frame: Frame) -> Dataset:
    """Return a reference to a frame (PS3.3 Table 10-3)."""
    return images([frame])[0]


def images(frames: Iterable[Frame]) -> list[Dataset]:
    """Return a reference per instance, those of multi-frame ones with the numbers of the frames (PS3.3 Table 10-3)."""
    items = []
    for _, shown in groupby(sorted(frames, key=_place), key=_uid):
        first, *others = shown
        item = instance(first.header)
        if first.multi_frame:
            item.ReferencedFrameNumber = [frame.number for frame in (first, *others)] if others else first.number
        items.append(item)
    return items


def _uid(frame: Frame) -> str:
    return frame.sop_instance_uid


def _place(frame: Frame) -> tuple[str, int]:
    return frame.sop_instance_uid, frame.number


def by_series(datasets: Iterable[Dataset], items: str = "ReferencedInstanceSequence") -> list[Dataset]:
    """Return the items of a Referenced Series Sequence, each instance once (PS3.3 Table 10-4, C.12.2)."""
    series: dict[str, dict[str, Dataset]] = {}
    for one in datasets:
        series.setdefault(one.SeriesInstanceUID, {})[one.SOPInstanceUID] = instance(one)
    return [_series(uid, items, list(instances.values())) for uid, instances in series.items()]


def _series(uid: str, items: str, instances: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    setattr(item, items, instances)
    return item


def by_study(datasets: Iterable[Dataset], items: str = "ReferencedSOPSequence") -> list[Dataset]:
    """Return references by study and series, each instance once (PS3.3 Table 10-3b)."""
    studies: dict[str, list[Dataset]] = {}
    for one in datasets:
        studies.setdefault(one.StudyInstanceUID, []).append(one)
    found = []
    for uid, of_study in studies.items():
        study = Dataset()
        study.StudyInstanceUID = uid
        study.ReferencedSeriesSequence = by_series(of_study, items)
        found.append(study)
    return found


def refer_in_common(built: Dataset, datasets: Sequence[Dataset], study_uid: str) -> None:
    """List what an object refers to, of its own study and of others (PS3.3 C.12.2)."""
    if here := [one for one in datasets if one.StudyInstanceUID == study_uid]:
        built.ReferencedSeriesSequence = by_series(here)
    if elsewhere := [one for one in datasets if one.StudyInstanceUID != study_uid]:
        others = by_study(elsewhere, "ReferencedInstanceSequence")
        built.StudiesContainingOtherReferencedInstancesSequence = others
