"""From what a plugin returned to DICOM objects, one file per kind of object."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from node.compose.finish import write
from node.compose.identity import Identity
from node.compose.kept import identify, keep, reports
from node.compose.picture import picture
from node.compose.seg import Outline, segmentation, tracking_uid
from node.compose.source import series_of
from node.compose.sr import report
from node.results import Result, Segmentation
from node.series import Series

__all__ = ["Identity", "compose", "identify", "keep", "picture", "reports", "write"]


def compose(
    inputs: Mapping[str, Series], results: Sequence[Result], identity: Identity, *, predecessors: Sequence[Dataset] = ()
) -> list[Dataset]:
    """Return the objects of a job in the order to send them: a Segmentation for each that has a voxel, then one report.

    The report is always there, also when nothing was found or the images were not suitable. Equal arguments give equal
    bytes.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    predecessors
        Reports that the same plugin made of the study's earlier revision (PS3.3 C.17.2).

    Raises
    ------
    BrokenResult
        What the plugin returned does not fit the images; the message says what and who must act.
    """
    objects: list[Dataset] = []
    outlines: list[Outline] = []
    for order, result in enumerate(result for result in results if isinstance(result, Segmentation)):
        series = series_of(result.labels, inputs, identity.study_uid)
        made = None
        if series.frame_of_reference_uid and result.labels.array.any():
            made = segmentation(result, series, identity, order=order, number=len(objects))
            objects.append(made)
        outlines += _outlines(result, series, identity, order, made)
    objects.append(report(inputs, results, outlines, identity, number=len(objects), predecessors=predecessors))
    return objects


def _outlines(
    result: Segmentation, series: Series, identity: Identity, order: int, made: Dataset | None
) -> Iterator[Outline]:
    used = _used(result)
    for number, segment in enumerate(result.segments, 1):
        yield Outline(
            segment=segment,
            number=number,
            tracking_uid=tracking_uid(identity, order, number),
            found=number in used,
            series=series,
            object=made,
        )


def _used(result: Segmentation) -> set[int]:
    """Return the labels that occur, slice by slice: counting a whole stack at once would copy it."""
    used: set[int] = set()
    for plane in result.labels.array:
        if plane.any():
            used.update(np.flatnonzero(np.bincount(plane.ravel())).tolist())
    return used
