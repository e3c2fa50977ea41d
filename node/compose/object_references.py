"""References from objects to others: to instances, to frames, and lists by series and by study."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from pydicom.dataset import Dataset

from node.images.frame import Frame


def instance_reference(of: Dataset) -> Dataset:
    """Return a reference to an instance (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = of.SOPClassUID
    item.ReferencedSOPInstanceUID = of.SOPInstanceUID
    return item


def image_reference(frame: Frame) -> Dataset:
    """Return a reference to a frame (PS3.3 Table 10-3)."""
    return image_references([frame])[0]


def image_references(frames: Iterable[Frame]) -> list[Dataset]:
    """Return a reference for each instance, to a multi-frame image with its frame numbers (PS3.3 Table 10-3)."""
    items = []
    for _, of_instance in groupby(sorted(frames, key=_key), key=_uid):
        first, *others = of_instance
        item = instance_reference(first.header)
        if first.multi_frame:
            item.ReferencedFrameNumber = [frame.number for frame in (first, *others)] if others else first.number
        items.append(item)
    return items


def _uid(frame: Frame) -> str:
    return frame.sop_instance_uid


def _key(frame: Frame) -> tuple[str, int]:
    return frame.sop_instance_uid, frame.number


def by_series(datasets: Iterable[Dataset], items: str = "ReferencedInstanceSequence") -> list[Dataset]:
    """Return the items of a Referenced Series Sequence, each instance once (PS3.3 Table 10-4, C.12.2)."""
    series: dict[str, dict[str, Dataset]] = {}
    for dataset in datasets:
        series.setdefault(dataset.SeriesInstanceUID, {})[dataset.SOPInstanceUID] = instance_reference(dataset)
    return [_series(uid, items, list(instances.values())) for uid, instances in series.items()]


def _series(uid: str, items: str, instances: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    setattr(item, items, instances)
    return item


def by_study(datasets: Iterable[Dataset], items: str = "ReferencedSOPSequence") -> list[Dataset]:
    """Return references by study and series, each instance once (PS3.3 Table 10-3b)."""
    studies: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        studies.setdefault(dataset.StudyInstanceUID, []).append(dataset)
    found = []
    for uid, of_study in studies.items():
        study = Dataset()
        study.StudyInstanceUID = uid
        study.ReferencedSeriesSequence = by_series(of_study, items)
        found.append(study)
    return found


def refer_in_common(built: Dataset, datasets: Sequence[Dataset], study_uid: str) -> None:
    """List the instances that an object refers to, of its own study and of other studies (PS3.3 C.12.2)."""
    if own := [dataset for dataset in datasets if dataset.StudyInstanceUID == study_uid]:
        built.ReferencedSeriesSequence = by_series(own)
    if others := [dataset for dataset in datasets if dataset.StudyInstanceUID != study_uid]:
        studies = by_study(others, "ReferencedInstanceSequence")
        built.StudiesContainingOtherReferencedInstancesSequence = studies
