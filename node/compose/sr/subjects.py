"""The subjects of measurement groups: segments, regions and findings, and what was stated of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from node.codes import Code
from node.compose.ascii_text import plain
from node.compose.case import Case
from node.errors import BrokenResult
from node.images.series import Series
from node.results import Comparison, Finding, Measurement, Region, Result, Segment, Segmentation

Statement = Measurement | Finding | Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSubject:
    """What a measurement group is about."""

    label: str
    tracking_uid: str
    type: Code
    category: Code | None = None
    site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportedSegment:
    """A segment of a case, with the Segmentation objects that hold it.

    Parameters
    ----------
    number
        Segment Number in `result`, from 1.
    found
        Whether the segment has a voxel.
    largest
        Index of the slice on which it has most voxels.
    objects
        The Segmentations that a report can refer to, each with the Segment Number there.
    """

    segment: Segment
    number: int
    tracking_uid: str
    found: bool
    largest: int
    series: Series
    result: Segmentation
    objects: tuple[tuple[Dataset, int], ...] = ()

    @property
    def subject(self) -> GroupSubject:
        """The segment as the subject of a measurement group."""
        segment = self.segment
        has_site = segment.region is not None or segment.laterality is not None
        return GroupSubject(
            label=segment.label,
            tracking_uid=self.tracking_uid,
            type=segment.type,
            category=segment.category,
            site=(segment.region or segment.type) if has_site else None,
            laterality=segment.laterality,
        )


def reported_segments(case: Case, made: Sequence[Dataset]) -> list[ReportedSegment]:
    """Return every segment of every segmentation, with the Segmentations among the objects that hold it."""
    segments: list[ReportedSegment] = []
    for order, result in enumerate(case.results_of(Segmentation)):
        series = case.series_of(result)
        for number, (segment, area) in enumerate(zip(result.segments, result.areas, strict=True), 1):
            uid = case.segment_tracking_uid(order, number)
            segments.append(
                ReportedSegment(
                    segment=segment,
                    number=number,
                    tracking_uid=uid,
                    found=bool(area.any()),
                    largest=int(area.argmax()),
                    series=series,
                    result=result,
                    objects=_objects_with(uid, made),
                )
            )
    return segments


def _objects_with(uid: str, made: Sequence[Dataset]) -> tuple[tuple[Dataset, int], ...]:
    """Return the Segmentations that hold a segment, each with its Segment Number there.

    A report refers to no segment of a label map: such a reference is for Segmentation Storage only (PS3.3 Table 10-3),
    and dcmtk 3.6.7 cannot read such a report. The Tracking UID says which segment it is.
    """
    segs = [dataset for dataset in made if dataset.SOPClassUID == SegmentationStorage]
    holding = [(seg, item) for seg in segs for item in seg.SegmentSequence if item.TrackingUID == uid]
    return tuple(
        (seg, int(item.SegmentNumber))
        for seg, item in holding
        if seg.SegmentationType == holding[0][0].SegmentationType
    )


def reported_regions(case: Case) -> Iterator[tuple[GroupSubject, Region]]:
    """Yield every region with its subject."""
    for order, region in enumerate(case.results_of(Region)):
        subject = GroupSubject(
            label=region.label,
            tracking_uid=case.region_tracking_uid(order),
            type=region.type,
            category=region.category,
            site=region.site,
            laterality=region.laterality,
        )
        yield subject, region


def statement_of(result: Result) -> Measurement | Finding | None:
    """Return the measurement or finding that a result is or, as a comparison, has; None for other results."""
    statement = result.measurement if isinstance(result, Comparison) else result
    return statement if isinstance(statement, Measurement | Finding) else None


def statements_on(case: Case, subject: Segment | Region) -> list[Statement]:
    """Return the measurements, findings and comparisons of a segment, or of that very region."""
    return [
        result
        for result in case.results
        if isinstance(result, Statement) and (statement := statement_of(result)) is not None and statement.of == subject
    ]


def check_subjects(case: Case, segments: Sequence[ReportedSegment]) -> None:
    """Raise BrokenResult unless every segment or region that is measured or found is among the results, and once."""
    known_segments = [segment.segment for segment in segments]
    for result in case.results:
        statement = statement_of(result)
        if statement is None or statement.of is None:
            continue
        if isinstance(statement.of, Region):
            known = sum(statement.of is other for other in case.results)
        else:
            known = known_segments.count(statement.of)
        if not known:
            raise BrokenResult(
                f"plugin {case.identity.plugin} returned {plain(statement.name.meaning)!r} of "
                f"{plain(statement.of.label)!r}, a segment in none of its segmentations: whoever made the plugin must "
                "yield that segmentation too"
            )
        if known > 1 and not isinstance(statement.of, Region):
            raise BrokenResult(
                f"two segmentations have a segment {plain(statement.of.label)!r}, so that its measurements belong to "
                "neither: whoever made the plugin must give them labels of their own"
            )
