"""The case: what a plugin returned for a set of series. All objects of a job are composed from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydicom.dataset import Dataset

from node.compose.identity import Identity
from node.errors import BrokenResult
from node.images.series import Series
from node.results import Region, Result, Segmentation

ResultType = TypeVar("ResultType")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What a plugin returned for a set of series, with all that the objects made of it need.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    results
        What the plugin returned, in its order.
    identity
        Names the run of the plugin; UIDs are derived from it.
    predecessors
        Reports that the same plugin made on the study's earlier revision (PS3.3 C.17.2).
    caveat
        What is known to be missing in the study, as the end of a sentence; empty if nothing is.
    most_frames
        Greatest number of frames in one Segmentation object; a larger one is divided. None: no limit.
    """

    inputs: Mapping[str, Series]
    results: Sequence[Result]
    identity: Identity
    predecessors: Sequence[Dataset] = ()
    caveat: str = ""
    most_frames: int | None = None

    @property
    def study_series(self) -> list[Series]:
        """The inputs that belong to the study of the job; the other inputs are priors.

        Raises
        ------
        BrokenResult
            No input belongs to it.
        """
        found = [series for series in self.inputs.values() if self.is_in_study(series)]
        if not found:
            raise BrokenResult(
                f"no input of plugin {self.identity.plugin} is of study {self.identity.study_uid}, which the job is for"
            )
        return found

    @property
    def incomplete(self) -> list[str]:
        """The sentence that says what is missing in the study; none if nothing is known to be."""
        return [f"The study may be incomplete: {self.caveat}."] if self.caveat else []

    @property
    def header(self) -> Dataset:
        """The first image of the study; attributes of the patient and the study are copied from it."""
        return self.study_series[0].header

    def is_in_study(self, series: Series) -> bool:
        """Return whether a series belongs to the study of the job."""
        return series.study_uid == self.identity.study_uid

    def check_in_study(self, series: Series) -> None:
        """Raise BrokenResult for images of a prior: an object belongs to the study that it is about."""
        if not self.is_in_study(series):
            raise BrokenResult(
                f"plugin {self.identity.plugin} returned images of a prior, series {series.key}: whoever made it must "
                "return results on the study that the job is for"
            )

    def results_of(self, kind: type[ResultType]) -> list[ResultType]:
        """Return the results of one type, in their order."""
        return [result for result in self.results if isinstance(result, kind)]

    def series_of(self, segmentation: Segmentation) -> Series:
        """Return the input that a segmentation lies on: same shape, affine and frame of reference, and its `source`.

        Raises
        ------
        BrokenResult
            No input of the study has that grid.
        """
        for series in self.inputs.values():
            if self.is_in_study(series) and segmentation.lies_on(series):
                return series
        shape = " × ".join(str(length) for length in segmentation.labels.array.shape)
        raise BrokenResult(
            f"the plugin returned labels of {shape} on a grid that is none of its input images of study "
            f"{self.identity.study_uid}: whoever made the plugin must return them on the grid of one of them"
        )

    def segment_tracking_uid(self, order: int, number: int) -> str:
        """Return the Tracking UID of a segment (PS3.16 TID 4108), the same in SEG and SR.

        Parameters
        ----------
        order
            Index of its segmentation among the segmentations of the case.
        number
            Segment Number in that segmentation, from 1.
        """
        own = self.results_of(Segmentation)[order].segments[number - 1].tracking_uid
        return own or self.identity.tracking_uid(str(order), str(number))

    def region_tracking_uid(self, order: int) -> str:
        """Return the Tracking UID of the region at an index among the regions of the case."""
        own = self.results_of(Region)[order].tracking_uid
        return own or self.identity.tracking_uid("region", str(order))
