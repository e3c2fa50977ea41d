"""From what a plugin returned to DICOM objects, one file per kind of object."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from node.compose.derived import derived_series
from node.compose.drawing import things
from node.compose.finish import write
from node.compose.gsps import presentation_states
from node.compose.identity import Identity
from node.compose.kept import identify, keep, reports
from node.compose.ko import key_objects
from node.compose.mgcad import mammography_cad
from node.compose.pdf import document
from node.compose.picture import picture
from node.compose.pm import mappable, parametric_map
from node.compose.registration import deformable, spatial
from node.compose.rtstruct import drawable, structure_set
from node.compose.sc import overlay, summary
from node.compose.seg import Outline, segmentation, tracking_uid
from node.compose.source import series_of
from node.compose.sr import report
from node.errors import BrokenResult
from node.results import DerivedSeries, Heatmap, KeyImages, Registration, Result, Segmentation
from node.series import Series

__all__ = ["DEFAULT", "KINDS", "Case", "Identity", "compose", "identify", "keep", "picture", "reports", "write"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What a plugin found in one set of series, as objects are composed of it.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    predecessors
        Reports that the same plugin made of the study's earlier revision (PS3.3 C.17.2).
    """

    inputs: Mapping[str, Series]
    results: Sequence[Result]
    identity: Identity
    predecessors: Sequence[Dataset] = ()

    @property
    def here(self) -> list[Series]:
        """The inputs that are of the study the job is for, not priors.

        Raises
        ------
        BrokenResult
            There are none.
        """
        found = [series for series in self.inputs.values() if series.study_uid == self.identity.study_uid]
        if not found:
            raise BrokenResult(
                f"no input of plugin {self.identity.plugin} is of study {self.identity.study_uid}, which the job is for"
            )
        return found

    def must_be_here(self, series: Series) -> None:
        """Raise BrokenResult where a series is a prior: objects lie in the study that they are about."""
        if series.study_uid != self.identity.study_uid:
            raise BrokenResult(
                f"plugin {self.identity.plugin} returned images of a prior, series {series.key}: whoever made it must "
                "return results on the study that the job is for"
            )


Composer = Callable[[Case, Sequence[Dataset]], list[Dataset]]
"""Makes the objects of a kind, none where the results have nothing for it; is told which were made before."""


def compose(
    inputs: Mapping[str, Series],
    results: Sequence[Result],
    identity: Identity,
    *,
    predecessors: Sequence[Dataset] = (),
    kinds: Sequence[str] | None = None,
) -> list[Dataset]:
    """Return the objects of a job in the order to send them: each result as the object it is, then one report.

    The report is always there, also when nothing was found or the images were not suitable. Equal arguments give equal
    bytes.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    predecessors
        Reports that the same plugin made of the study's earlier revision (PS3.3 C.17.2).
    kinds
        Which of `KINDS` to make, in the order of that table; `DEFAULT` without it.

    Raises
    ------
    BrokenResult
        What the plugin returned does not fit the images; the message says what and who must act.
    """
    case = Case(inputs=inputs, results=results, identity=identity, predecessors=predecessors)
    objects: dict[str, Dataset] = {}
    for kind in (kind for kind in KINDS if kind in (DEFAULT if kinds is None else kinds)):
        for made in KINDS[kind](case, list(objects.values())):
            objects.setdefault(made.SOPInstanceUID, made)
    return list(objects.values())


def _number(made: Sequence[Dataset]) -> int:
    """Return how many series there are among the objects, which decides the next Series Number."""
    return len({one.SeriesInstanceUID for one in made})


def compose_seg(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Segmentation for each that has a voxel, on images with a frame of reference."""
    objects: list[Dataset] = []
    for order, result, series in _segmentations(case):
        if series.frame_of_reference_uid and result.labels.array.any():
            number = _number([*made, *objects])
            objects.append(segmentation(result, series, case.identity, order=order, number=number))
    return objects


def compose_sr(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the report, which names the Segmentations made before."""
    by_uid = {one.SOPInstanceUID: one for one in made}
    outlines: list[Outline] = []
    for order, result, series in _segmentations(case):
        outlines += _outlines(result, series, case.identity, order, by_uid.get(case.identity.uid("seg", str(order))))
    return [
        report(
            case.inputs,
            case.results,
            outlines,
            case.identity,
            number=_number(made),
            predecessors=case.predecessors,
        )
    ]


def _segmentations(case: Case) -> Iterator[tuple[int, Segmentation, Series]]:
    segmentations = [result for result in case.results if isinstance(result, Segmentation)]
    for order, result in enumerate(segmentations):
        yield order, result, series_of(result.labels, case.inputs, case.identity.study_uid)


def compose_pm(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Parametric Map for each heat map; a picture of those on images that have no place in the patient."""
    objects: list[Dataset] = []
    for order, result in enumerate(_heatmaps(case)):
        of_kind = parametric_map if mappable(result.source) else overlay
        objects.append(of_kind(result, case.identity, order=order, number=_number([*made, *objects])))
    return objects


def _heatmaps(case: Case) -> list[Heatmap]:
    maps = [result for result in case.results if isinstance(result, Heatmap)]
    for result in maps:
        case.must_be_here(result.source)
    return maps


def compose_sc(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the summary as a picture, and each heat map in colour."""
    objects = [summary(_page(case), case.here[0].header, case.identity, number=_number(made))]
    for order, result in enumerate(_heatmaps(case)):
        objects.append(overlay(result, case.identity, order=order, number=_number([*made, *objects])))
    return objects


def compose_pdf(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the summary as a document."""
    return [document(_page(case), case.here[0], case.identity, number=_number(made))]


def _page(case: Case) -> bytes:
    return picture(case.here[0], case.results, case.identity.title)


def compose_gsps(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return presentation states for each series that something is drawn on."""
    drawn = things(case.inputs, case.results, case.identity)
    objects: list[Dataset] = []
    for order, series in enumerate(case.here):
        number = _number([*made, *objects])
        objects += presentation_states(series, drawn, case.identity, name=str(order), number=number)
    return objects


def compose_rtstruct(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a structure set for each series with positions that something is drawn on."""
    drawn = things(case.inputs, case.results, case.identity)
    objects: list[Dataset] = []
    for order, series in enumerate(case.here):
        if drawable(series):
            number = _number([*made, *objects])
            if one := structure_set(series, drawn, case.identity, name=str(order), number=number):
                objects.append(one)
    return objects


def compose_ko(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Key Object Selection for each choice of key images."""
    objects: list[Dataset] = []
    chosen = [result for result in case.results if isinstance(result, KeyImages)]
    for order, result in enumerate(chosen):
        number = _number([*made, *objects])
        objects.append(key_objects(result, case.inputs, case.identity, order=order, number=number))
    return objects


def compose_derived(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the images of each derived series."""
    objects: list[Dataset] = []
    derived = [result for result in case.results if isinstance(result, DerivedSeries)]
    for order, result in enumerate(derived):
        case.must_be_here(result.source)
        objects += derived_series(result, case.identity, order=order, number=_number([*made, *objects]))
    return objects


def compose_reg(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Spatial Registration for each that is linear."""
    return _registrations(case, made, deform=False)


def compose_deformable(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Deformable Spatial Registration for each that is not linear."""
    return _registrations(case, made, deform=True)


def _registrations(case: Case, made: Sequence[Dataset], *, deform: bool) -> list[Dataset]:
    objects: list[Dataset] = []
    results = [result for result in case.results if isinstance(result, Registration)]
    for order, result in enumerate(results):
        if (result.deformation is not None) == deform:
            of_kind, number = deformable if deform else spatial, _number([*made, *objects])
            objects.append(of_kind(result, case.here[0].header, case.identity, order=order, number=number))
    return objects


def compose_mgcad(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return a Mammography CAD SR where there are mammograms."""
    drawn = things(case.inputs, case.results, case.identity)
    one = mammography_cad(case.inputs, drawn, case.results, case.identity, number=_number(made))
    return [] if one is None else [one]


KINDS: Mapping[str, Composer] = {
    "SEG": compose_seg,
    "PM": compose_pm,
    "DERIVED": compose_derived,
    "REG": compose_reg,
    "DEFORMABLE": compose_deformable,
    "KO": compose_ko,
    "GSPS": compose_gsps,
    "SC": compose_sc,
    "PDF": compose_pdf,
    "RTSTRUCT": compose_rtstruct,
    "MGCAD": compose_mgcad,
    "SR": compose_sr,
}
"""Every kind of object and how it is made, in the order of sending."""

DEFAULT = ("SEG", "PM", "DERIVED", "REG", "DEFORMABLE", "KO", "SR")
"""What a job makes of its results where no destination asks for more."""


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
