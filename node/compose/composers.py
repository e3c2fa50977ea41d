"""From what a plugin returned to DICOM objects, one file per kind of object."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from node.compose.derived import derived_series
from node.compose.fallback import fall_back
from node.compose.finish import write
from node.compose.gsps import drawn_on, presentation_states
from node.compose.identity import Identity
from node.compose.ko import key_objects
from node.compose.mgcad import mammography_cad
from node.compose.outlines import things
from node.compose.pdf import document
from node.compose.pm import mappable, parametric_map
from node.compose.registration import deformable, spatial
from node.compose.rtstruct import drawable, structure_set
from node.compose.sc import overlay, summary
from node.compose.seg import Form, Outline, mappable_labels, segmentable, segmentations, tracking_uid
from node.compose.seg_frames import stored_areas
from node.compose.source_images import series_of
from node.compose.sr.groups import reports as structured_reports
from node.compose.stored_objects import identify, keep, keep_page, reports
from node.compose.summary_page import picture
from node.errors import BrokenResult
from node.images.series import Series
from node.profiles import Profile
from node.records import Job, ResultObject
from node.results import DerivedSeries, Heatmap, KeyImages, Registration, Result, Segmentation
from node.spool import Spool

__all__ = [
    "DEFAULT",
    "KINDS",
    "Case",
    "Identity",
    "compose",
    "compose_for",
    "compose_kinds",
    "fall_back",
    "identify",
    "keep",
    "picture",
    "reports",
    "write",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What a plugin found in one set of series, as objects are composed of it.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    predecessors
        Reports that the same plugin made of the study's earlier revision (PS3.3 C.17.2).
    most_frames
        Of one Segmentation; a larger one becomes several.
    """

    inputs: Mapping[str, Series]
    results: Sequence[Result]
    identity: Identity
    predecessors: Sequence[Dataset] = ()
    most_frames: int | None = None

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
    most_frames: int | None = None,
) -> list[Dataset]:
    """Return the objects of a job in the order to send them: each result as the object it is, then the reports.

    A report is always there, also when nothing was found or the images were not suitable. Equal arguments give equal
    bytes.

    Parameters
    ----------
    inputs
        The series that the plugin was given, by role.
    predecessors
        Reports that the same plugin made of the study's earlier revision (PS3.3 C.17.2).
    kinds
        Which of `KINDS` to make, in the order of that table; `DEFAULT` without it.
    most_frames
        Of one Segmentation; a larger one becomes several.

    Raises
    ------
    BrokenResult
        What the plugin returned does not fit the images; the message says what and who must act.
    """
    wanted = DEFAULT if kinds is None else kinds
    return [
        made
        for _, made in compose_kinds(
            inputs, results, identity, predecessors=predecessors, kinds=wanted, most_frames=most_frames
        )
    ]


def compose_kinds(
    inputs: Mapping[str, Series],
    results: Sequence[Result],
    identity: Identity,
    *,
    predecessors: Sequence[Dataset] = (),
    kinds: Collection[str],
    most_frames: int | None = None,
) -> list[tuple[str, Dataset]]:
    """Return the objects of kinds as `compose` does, each with the kind that it is made for."""
    case = Case(inputs=inputs, results=results, identity=identity, predecessors=predecessors, most_frames=most_frames)
    objects: dict[str, tuple[str, Dataset]] = {}
    for kind in (kind for kind in KINDS if kind in kinds):
        for made in KINDS[kind](case, [one for _, one in objects.values()]):
            objects.setdefault(made.SOPInstanceUID, (kind, made))
    return list(objects.values())


Told = Iterable[tuple[Mapping[str, Series], Sequence[Result]]]
Composed = tuple[tuple[ResultObject, ...], dict[str, tuple[str, ...]]]
"""The rows of objects in the spool, and who is to get which of them, by SOP Instance UID."""


def compose_for(
    profiles: Mapping[str, Profile],
    job: Job,
    called: Callable[..., Identity],
    spool: Spool,
    earlier: Sequence[str],
    told: Told,
) -> Composed:
    """Leave in the spool what the destinations of a job want, and return its rows and who is to get which object.

    Parameters
    ----------
    profiles
        What each destination wants, by its name.
    called
        Gives the identity of a run (`part`) for a profile: `identify`, of the job.
    earlier
        Where the objects of the same plugin on the study's earlier revision lie.
    told
        Inputs and results of each run of the plugin, as they become known.
    """
    predecessors = reports(spool, earlier)
    objects: list[ResultObject] = []
    recipients: dict[str, tuple[str, ...]] = {}
    for part, (inputs, results) in enumerate(told):
        for names, profile, kinds in _shapes({name: profiles[name] for name in job.destinations}):
            identity = called(part=part, profile=profile)
            for kind, made in compose_kinds(
                inputs,
                results,
                identity,
                predecessors=predecessors,
                kinds=kinds,
                most_frames=profile.most_frames,
            ):
                objects.append(keep(spool, made))
                to = tuple(name for name in names if kind in profiles[name].objects)
                recipients[objects[-1].sop_instance_uid] = to
        case = Case(inputs=inputs, results=results, identity=called(part=part))
        keep_page(spool, job, part, _page(case), case.identity, case.here[0])
    return tuple(objects), recipients


def _shapes(profiles: Mapping[str, Profile]) -> Iterator[tuple[list[str], Profile, set[str]]]:
    """Return the destinations that can have the same objects, what those are like, and of which kinds they are."""
    if not profiles:
        yield [], Profile(), set(DEFAULT)
    for shape in dict.fromkeys(profile.shape for profile in profiles.values()):
        names = [name for name, profile in profiles.items() if profile.shape == shape]
        yield names, profiles[names[0]], {kind for name in names for kind in profiles[name].objects}


def _number(made: Sequence[Dataset]) -> int:
    """Return how many series there are among the objects, which decides the next Series Number."""
    return len({one.SeriesInstanceUID for one in made})


def compose_seg(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return Segmentations of each that has a voxel."""
    return _written(case, made, lambda _: "BINARY")


def compose_labelmap(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return label maps, and BINARY Segmentations where segments overlap or are too many for one."""
    return _written(case, made, lambda result: "LABELMAP" if mappable_labels(result) else "BINARY")


def compose_fractional(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the probabilities of the Segmentations that have any."""
    return _written(case, made, lambda result: "FRACTIONAL" if result.fractional else None)


def _written(case: Case, made: Sequence[Dataset], form_of: Callable[[Segmentation], Form | None]) -> list[Dataset]:
    objects: list[Dataset] = []
    for order, result, series in _segmentations(case):
        form = form_of(result)
        if form is None or not segmentable(series):
            continue
        objects += segmentations(
            result,
            series,
            case.identity,
            there=(stored_areas(result) if form == "FRACTIONAL" else result.areas) > 0,
            order=order,
            number=_number([*made, *objects]),
            form=form,
            most=case.most_frames,
        )
    return objects


def compose_sr(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return the reports, which name the Segmentations made before."""
    outlines: list[Outline] = []
    for order, result, series in _segmentations(case):
        for number, (segment, area) in enumerate(zip(result.segments, result.areas, strict=True), 1):
            uid = tracking_uid(result, case.identity, order, number)
            outlines.append(
                Outline(
                    segment=segment,
                    number=number,
                    tracking_uid=uid,
                    found=bool(area.any()),
                    largest=int(area.argmax()),
                    series=series,
                    result=result,
                    objects=_within(uid, made),
                )
            )
    return structured_reports(
        case.inputs,
        case.results,
        outlines,
        case.identity,
        number=_number(made),
        predecessors=case.predecessors,
    )


def _within(uid: str, made: Sequence[Dataset]) -> tuple[tuple[Dataset, int], ...]:
    """Return the objects that hold a segment, each with its Segment Number there, and that a report can refer to.

    A report names no segment of a label map: that is for Segmentation Storage alone (PS3.3 Table 10-3), and dcmtk 3.6.7
    cannot read such a report. The Tracking UID tells which segment it is.
    """
    segs = [one for one in made if one.SOPClassUID == SegmentationStorage]
    named = [(one, item) for one in segs for item in one.SegmentSequence if item.TrackingUID == uid]
    return tuple(
        (one, int(item.SegmentNumber)) for one, item in named if one.SegmentationType == named[0][0].SegmentationType
    )


def _segmentations(case: Case) -> Iterator[tuple[int, Segmentation, Series]]:
    segmentations = [result for result in case.results if isinstance(result, Segmentation)]
    for order, result in enumerate(segmentations):
        yield order, result, series_of(result, case.inputs, case.identity.study_uid)


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
    return picture(case.inputs, case.results, case.identity)


def compose_gsps(case: Case, made: Sequence[Dataset]) -> list[Dataset]:
    """Return presentation states for each series that something is drawn on."""
    drawn = things(case.inputs, case.results, case.identity)
    objects: list[Dataset] = []
    for order, series in enumerate(case.here):
        number = _number([*made, *objects])
        shown = list(drawn_on(series, drawn))
        objects += presentation_states(series, shown, case.identity, name=str(order), number=number)
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
    "LABELMAP": compose_labelmap,
    "FRACTIONAL": compose_fractional,
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
