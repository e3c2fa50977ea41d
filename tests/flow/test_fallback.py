"""What a destination does not take by SOP class goes another way, as far as its profile knows one; Orthanc included."""

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from node.codes import SCT, UCUM
from node.commands.explain import explain
from node.compose import Case, Identity, compose, compose_job, fall_back, job_identity, write_object
from node.compose.content_items import walk
from node.compose.conversions import (
    CLASSES,
    as_comprehensive,
    as_enhanced,
    labelmap_as_binary,
    names_segmentations,
    without_segmentations,
)
from node.compose.gsps import presentation_states
from node.compose.stored_outlines import read_stored_outlines
from node.deliver import Outbox
from node.host.manifest import Manifest
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.ledger import Ledger
from node.profiles import PROFILES, Profile
from node.records import Address, DeliveryState, Job, Plan
from node.results import Finding, Measurement, Region, Result, Segment, Segmentation
from node.spool import Spool
from node.testing import ct_series
from node.testing import write as write_images
from tests.peers import SYSTEM_PATH, Orthanc, complaints, missing

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

STUDY = "1.2.1"
LIVER = Segment(label="Liver", type=SCT.Liver, category=SCT.Organ)
CYST = Segment(label="Cyst", type=SCT.Cyst, category=SCT.MorphologicallyAbnormalStructure)
MANIFEST = Manifest.model_validate(
    {"name": "spleen", "version": "1", "title": "Spleen", "models": ["spleen"], "series": {"ct": {"when": {}}}}
)


@dataclass
class Peer:
    """A stand-in PACS that takes some SOP classes and keeps what it is sent."""

    port: int = 0
    stored: list[Dataset] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return Address("PEER", "127.0.0.1", self.port)

    def classes(self) -> list[str]:
        kinds = {uid: kind for kind, uid in CLASSES.items()}
        return sorted(kinds[str(one.SOPClassUID)] for one in self.stored)

    def keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.stored.append(dataset)
        return 0x0000


@pytest.fixture
def start() -> Iterator[Callable[..., Peer]]:
    entities: list[AE] = []

    def made(*kinds: str) -> Peer:
        entity, peer = AE("PEER"), Peer()
        for kind in kinds:
            entity.add_supported_context(CLASSES[kind])  # type: ignore[index]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, peer.keep)])
        assert server is not None
        peer.port = server.server_address[1]
        entities.append(entity)
        return peer

    yield made
    for entity in entities:
        entity.shutdown()


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return _series(tmp_path)


def _series(tmp_path: Path) -> Series:
    paths = write_images(ct_series(study_uid=STUDY), tmp_path / "images")
    (one,) = group_into_stacks(Part10.of_file(path) for path in paths).series
    return one


@dataclass
class Node:
    """Compose and deliver, as the river does it."""

    ledger: Ledger
    spool: Spool
    series: Series
    plan: Callable[..., Any]
    destination: str = "PACS"

    def finish(self, **profiles: Profile) -> Job:
        self.plan(tuple(profiles))
        job = self.ledger.claim(lease_seconds=60)
        assert job is not None
        called = partial(job_identity, job, MANIFEST, lambda model: "1", device_uid="2.25.42")
        runs = [({"ct": self.series}, _results(self.series))]
        objects, to = compose_job(profiles, job, called, self.spool, (), runs)
        assert self.ledger.finish(job, objects, recipients=to)
        return job

    def deliver(self, address: Address, profile: Profile, destination: str = "PACS") -> None:
        outbox = Outbox(
            destination=destination,
            address=address,
            calling="ISOCENTER",
            seconds=10,
            give_up_seconds=1e6,
            ledger=self.ledger,
            spool=self.spool,
            clock=self.ledger.clock,
            transfer_syntax="1.2.840.10008.1.2.1",
        )
        more = True
        while more:
            wait = outbox.deliver()
            found = fall_back(
                self.ledger, self.spool, destination, profile, lambda _: SimpleNamespace(series=[self.series])
            )
            more = bool(found) or (wait is not None and wait <= 0)

    def states(self) -> dict[str, int]:
        found = [str(one.state) for one in self.ledger.deliveries(STUDY)]
        return {state: found.count(state) for state in found}


@pytest.fixture
def node(ledger: Ledger, spool: Spool, series: Series, routed: Callable[..., int], wanted: Callable[..., Plan]) -> Node:
    return Node(ledger, spool, series, lambda to: routed(wanted(to=to)))


ORTHANC = PROFILES["orthanc"]
LABELMAP = replace(ORTHANC, objects=("LABELMAP", "SR"))


@pytest.mark.parametrize(
    ("takes", "profile", "gets"),
    [
        (("SEG", "SR"), ORTHANC, ["SEG", "SR", "SR"]),
        (("LABELMAP", "SR"), LABELMAP, ["LABELMAP", "SR", "SR"]),
        (("SEG", "SR"), LABELMAP, ["SEG", "SR", "SR"]),
        (("SEG", "COMPREHENSIVE"), ORTHANC, ["COMPREHENSIVE", "COMPREHENSIVE", "SEG"]),
        (("SEG", "ENHANCED"), ORTHANC, ["ENHANCED", "ENHANCED", "SEG"]),
        (("SR", "SC"), ORTHANC, ["SC", "SR", "SR"]),
        (("SR", "GSPS"), ORTHANC, ["GSPS", "SR", "SR"]),
        (("GSPS", "SC"), ORTHANC, ["GSPS"]),
        (("GSPS",), replace(ORTHANC, objects=("SR",)), ["GSPS"]),
        (("GSPS",), replace(LABELMAP, fallback=("GSPS",)), ["GSPS"]),
        (("SC",), replace(ORTHANC, objects=("SEG",)), ["SC"]),
        (("PDF",), replace(ORTHANC, objects=("SC",)), ["PDF"]),
        (("SC",), ORTHANC, ["SC"]),
        (("PDF",), ORTHANC, ["PDF"]),
        (("SC", "PDF"), PROFILES["plain-pacs"], ["PDF", "SC"]),
        (("PDF",), PROFILES["plain-pacs"], ["PDF"]),
        (("SEG", "SR", "GSPS"), PROFILES["weasis"], ["GSPS", "SEG", "SR", "SR"]),
        (("GSPS",), PROFILES["weasis"], ["GSPS"]),
    ],
)
def test_a_destination_gets_the_best_it_takes(
    node: Node, start: Callable[..., Peer], takes: tuple[str, ...], profile: Profile, gets: list[str]
) -> None:
    peer = start(*takes)
    node.finish(PACS=profile)
    node.deliver(peer.address, profile)
    assert peer.classes() == gets
    assert {one.StudyInstanceUID for one in peer.stored} == {STUDY}
    assert {str(one.get("PatientName")) for one in peer.stored} == {"PHANTOM^CHEST"}
    assert set(node.states()) <= {"delivered", "replaced"}


def test_a_report_goes_without_the_segmentation_that_does_not_go(node: Node, start: Callable[..., Peer]) -> None:
    peer = start("SR", "GSPS")
    node.finish(PACS=ORTHANC)
    node.deliver(peer.address, ORTHANC)
    made = compose(
        _case(node.series, _results(node.series), identity=replace(_identity(), models=("spleen 1",))), kinds=("SR",)
    )
    for report, expected in zip(_by_description(peer.stored, "SR"), _by_description(made, "SR"), strict=True):
        assert not names_segmentations(report)
        tracked = {item.UID for item in walk(report) if item.get("ValueType") == "UIDREF" and len(item.UID) > 30}
        assert len(tracked) >= 2
        assert _said(report) == _said(expected)
        assert "PredecessorDocumentsSequence" not in report
    assert node.states() == {"delivered": 3, "replaced": 2}
    assert "which PACS does not take; a report without it in its place" in "\n".join(explain(node.ledger, STUDY))


def test_a_destination_that_wants_no_segmentation_has_a_report_of_its_own(
    node: Node, start: Callable[..., Peer]
) -> None:
    rich, plain = start("SEG", "SR"), start("SEG", "SR")
    reports = replace(ORTHANC, objects=("SR", "SC"))
    node.finish(PACS=ORTHANC, READER=reports)
    node.deliver(rich.address, ORTHANC)
    node.deliver(plain.address, reports, "READER")
    named = [[names_segmentations(one) for one in _by_description(peer.stored, "SR")] for peer in (rich, plain)]
    assert named == [[False, True], [False, False]]
    assert not {one.SOPInstanceUID for one in rich.stored} & {one.SOPInstanceUID for one in plain.stored}


def test_a_report_that_was_there_before_is_replaced_by_one_without_the_segmentation(
    node: Node, start: Callable[..., Peer]
) -> None:
    """Two processes deliver to it: one sent the report while the other was told that the Segmentation is not taken."""
    peer = start("SR", "GSPS")
    node.finish(PACS=ORTHANC)
    held = {one.object.sop_instance_uid: one for one in node.ledger.claim_deliveries("PACS", lease_seconds=60)}
    reports = [one for one in held.values() if one.object.kind == "SR"]
    for report in reports:
        node.ledger.delivered(report)
    node.ledger.release_deliveries([one for one in held.values() if one.object.kind == "SEG"])
    node.deliver(peer.address, ORTHANC)
    (report,) = [one for one in peer.stored if one.Modality == "SR"]
    assert not names_segmentations(report)
    (study,) = report.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named in {one.object.sop_instance_uid for one in reports}


def test_what_replaces_an_earlier_report_replaces_what_went_in_its_place(series: Series, tmp_path: Path) -> None:
    earlier = compose(_case(series, _results(series)))
    later = compose(_case(series, _results(series), identity=replace(_identity(), revision=2), predecessors=earlier))
    for change in (partial(without_segmentations, follows=False), as_comprehensive, as_enhanced):
        (first, _), (second, _) = ([one for one in made if one.Modality == "SR"] for made in (earlier, later))
        first, second = (change(_read(tmp_path, one)) for one in (first, second))
        (study,) = second.PredecessorDocumentsSequence
        (reference,) = study.ReferencedSeriesSequence
        assert reference.SeriesInstanceUID == first.SeriesInstanceUID
        assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
        assert reference.ReferencedSOPSequence[0].ReferencedSOPClassUID == first.SOPClassUID


def test_a_segmentation_in_several_objects_is_one_thing_to_a_report_without_them(
    series: Series, tmp_path: Path
) -> None:
    whole, cut = (
        next(one for one in compose(_case(series, _results(series), most_frames=most)) if one.Modality == "SR")
        for most in (None, 2)
    )
    assert len(_groups(cut)) > len(_groups(whole))
    assert _said(without_segmentations(_read(tmp_path, cut), follows=False)) == _said(
        without_segmentations(_read(tmp_path, whole), follows=False)
    )


@pytest.mark.parametrize("profile", [ORTHANC, LABELMAP])
def test_presentation_states_made_of_kept_objects_draw_what_the_job_would_have_drawn(
    node: Node, start: Callable[..., Peer], profile: Profile, tmp_path: Path
) -> None:
    peer = start("GSPS")
    profile = replace(profile, fallback=("GSPS",))
    node.finish(PACS=profile)
    node.deliver(peer.address, profile)
    (expected,) = compose(_case(node.series, _results(node.series)), kinds=("GSPS",))
    made, expected = (_read(tmp_path, one) for one in (*peer.stored, expected))
    for keyword in ("GraphicAnnotationSequence", "ReferencedSeriesSequence", "SoftcopyVOILUTSequence", "Modality"):
        assert _words(made[keyword]) == _words(expected[keyword])
    for one, other in zip(made.GraphicLayerSequence, expected.GraphicLayerSequence, strict=True):
        colors = [layer.GraphicLayerRecommendedDisplayCIELabValue for layer in (one, other)]
        assert np.allclose(*colors, atol=300)
        assert one.GraphicLayerDescription == other.GraphicLayerDescription


def test_regions_are_drawn_as_a_report_has_them(series: Series, tmp_path: Path) -> None:
    results = [*_results(series), *_regions(series)]
    *_, planar = compose(_case(series, results), kinds=("SR",))
    (expected,) = compose(_case(series, results[2:]), kinds=("GSPS",))
    frames = {(frame.sop_instance_uid, frame.number): frame for frame in series.frames}
    outlines = [
        one for one in read_stored_outlines([_read(tmp_path, planar)], frames) if one[1].label not in ("Liver", "Cyst")
    ]
    (made,) = presentation_states(series, outlines, _identity(), name="0", number=0)
    assert _words(made.GraphicAnnotationSequence) == _words(expected.GraphicAnnotationSequence)


def test_what_goes_in_place_of_others_is_valid_and_called_as_its_destination_wants(
    node: Node, start: Callable[..., Peer], tmp_path: Path
) -> None:
    named = replace(ORTHANC, series_description="{title} {kind} research", first_series_number=700)
    taken = {"STATES": ("GSPS",), "PICTURES": ("SC",), "PAGES": ("PDF",), "REPORTS": ("SR", "GSPS")}
    node.finish(**dict.fromkeys(taken, named))
    (tmp_path / "made").mkdir()
    for destination, takes in taken.items():
        peer = start(*takes)
        node.deliver(peer.address, named, destination)
        for one in peer.stored:
            assert str(one.SeriesDescription).startswith("Spleen ")
            assert 700 <= one.SeriesNumber < 800
            write_object(one, tmp_path / "made" / f"{one.SOPInstanceUID}.dcm")
    assert complaints(tmp_path / "images", tmp_path / "made", "DicomSRValidator") == set()


def test_at_the_end_of_the_chain_a_person_is_told_and_can_requeue(node: Node, start: Callable[..., Peer]) -> None:
    node.finish(PACS=ORTHANC)
    node.deliver(start("GSPS").address, replace(ORTHANC, fallback=("SC",)))
    parked = [one for one in node.ledger.deliveries(STUDY) if one.state is DeliveryState.PARKED]
    assert [one.object.kind for one in parked] == ["OT"]
    assert "PACS does not take it: SOP class Secondary Capture Image Storage is not accepted" in parked[0].reason
    assert "and requeue" in parked[0].reason
    explained = "\n".join(explain(node.ledger, STUDY))
    assert (
        "replaced – PACS does not take it: SOP class Segmentation Storage is not accepted; SC in its place" in explained
    )
    assert "object.replaced" in explained
    peer = start("SC")
    node.ledger.requeue(STUDY)
    node.deliver(peer.address, ORTHANC)
    assert peer.classes() == ["SC"]


def test_each_destination_goes_its_own_way(node: Node, start: Callable[..., Peer]) -> None:
    rich, poor = start("SEG", "SR"), start("SC", "PDF")
    node.finish(PACS=ORTHANC, OLD=PROFILES["plain-pacs"])
    node.deliver(rich.address, ORTHANC)
    node.deliver(poor.address, PROFILES["plain-pacs"], "OLD")
    assert (rich.classes(), poor.classes()) == (["SEG", "SR", "SR"], ["PDF", "SC"])
    assert node.states() == {"delivered": 5}


def test_destinations_that_want_them_otherwise_have_objects_of_their_own(
    node: Node, start: Callable[..., Peer]
) -> None:
    named = replace(ORTHANC, series_description="{title} {kind}", first_series_number=900, most_frames=4)
    first, second = start("SEG", "SR"), start("SEG", "SR")
    node.finish(PACS=ORTHANC, ARCHIVE=named)
    node.deliver(first.address, ORTHANC)
    node.deliver(second.address, named, "ARCHIVE")
    assert not {one.SOPInstanceUID for one in first.stored} & {one.SOPInstanceUID for one in second.stored}
    described = {str(one.SeriesDescription) for one in second.stored}
    assert described == {"Spleen SEG", "Spleen SR", "Spleen SR planar"}
    assert min(one.SeriesNumber for one in second.stored) == 900
    assert all(one.NumberOfFrames <= 4 for one in second.stored if one.Modality == "SEG")


def test_running_twice_does_no_harm(node: Node, start: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """The node dies after the new object is kept and before its row is there: it makes the very same again."""
    node.finish(PACS=LABELMAP)
    peer = start("SEG", "SR")
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            node.deliver(peer.address, LABELMAP)
    folder = node.spool.objects / STUDY
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    node.deliver(peer.address, LABELMAP)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    node.deliver(peer.address, LABELMAP)
    assert peer.classes() == ["SEG", "SR", "SR"]


def test_a_label_map_becomes_what_a_binary_segmentation_of_the_results_is(series: Series, tmp_path: Path) -> None:
    labelmap, seg = (_written(tmp_path, series, kind) for kind in ("LABELMAP", "SEG"))
    write_object(labelmap_as_binary(labelmap), tmp_path / "made.dcm")
    made = dcmread(tmp_path / "made.dcm")
    own = {"SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "ContentDescription"}
    for element in seg:
        if element.keyword in own or element.keyword.startswith("Dimension"):
            continue
        assert made[element.tag] == element, element.keyword
    assert {element.tag for element in made} - {element.tag for element in seg} == set()
    theirs, ours = (hd.seg.Segmentation.from_dataset(one).get_volume(combine_segments=True) for one in (seg, made))
    assert (theirs.array == ours.array).all()
    assert np.allclose(theirs.affine, ours.affine)


@pytest.mark.skipif(bool(missing("dsrdump")), reason=missing("dsrdump"))
@pytest.mark.parametrize("change", [as_comprehensive, as_enhanced])
def test_dsrdump_reads_the_lesser_reports_and_what_was_said_in_space_is_said_in_words(
    series: Series, tmp_path: Path, change: Callable[[Dataset], Dataset]
) -> None:
    for name, report in enumerate(_reports(series)):
        path = tmp_path / f"{name}.dcm"
        write_object(report, path)
        write_object(change(dcmread(path)), path)
        read = subprocess.run(["dsrdump", path], capture_output=True, text=True, check=False, env={"PATH": SYSTEM_PATH})
        assert read.returncode == 0, read.stderr
        assert "E: " not in read.stderr
        assert "SCOORD3D" not in read.stdout
    words = [item for item in walk(dcmread(tmp_path / "0.dcm")) if "in the patient" in str(item.get("TextValue"))]
    assert len(words) == 1


def test_orthanc_has_all_but_what_it_refuses_and_that_by_another_way(node: Node, pacs: Orthanc) -> None:
    """Debian's Orthanc refuses Label Map Segmentation Storage."""
    node.finish(PACS=LABELMAP)
    node.deliver(Address.parse(pacs.address), LABELMAP)
    stored = pacs.objects()
    assert sorted(one.Modality for one in stored) == ["SEG", "SR", "SR"]
    (seg,) = [one for one in stored if one.Modality == "SEG"]
    assert seg.SegmentationType == "BINARY"
    labels = next(result for result in _results(node.series) if isinstance(result, Segmentation)).labels.array
    read = hd.seg.Segmentation.from_dataset(seg)
    assert np.count_nonzero(read.get_volume(combine_segments=True).array) == np.count_nonzero(labels)
    assert node.states() == {"delivered": 3, "replaced": 1}


def _results(series: Series) -> list[Result]:
    labels = np.zeros((len(series.frames), 32, 32), np.uint8)
    labels[1:7, 4:20, 6:15] = 1
    labels[2:4, 8:12, 8:12] = 2
    volume = Volume(array=labels, affine=series.affine(), frame_of_reference_uid=series.frame_of_reference_uid)
    return [
        Segmentation(labels=volume, segments=[LIVER, CYST]),
        Measurement(name=SCT.Volume, value=150.25, unit=UCUM.CubicCentimeter, of=LIVER),
    ]


def _regions(series: Series) -> list[Result]:
    image, spot = series.frames[4], np.add(series.frames[2].position or (), (4.0, 5.0, 0.0))
    box = Region(kind="box", points=[[3, 2], [20, 18]], label="Box", type=SCT.Cyst, image=image, probability=0.5)
    return [
        box,
        Measurement(name=SCT.Diameter, value=8, unit=UCUM.Millimeter, of=box),
        Finding(name=SCT.Calcified, present=True, probability=0.25, of=box),
        Region(kind="ellipse", points=[[2, 9], [12, 9], [7, 5], [7, 13]], label="Oval", type=SCT.Cyst, image=image),
        Region(
            kind="point3d",
            points=[spot],
            label="Spot",
            type=SCT.Cyst,
            frame_of_reference_uid=series.frame_of_reference_uid,
        ),
    ]


def _reports(series: Series) -> list[Dataset]:
    where = np.array([series.frames[3].position or ()])
    point = Region(
        kind="point3d",
        points=where,
        label="Spot",
        type=SCT.Cyst,
        frame_of_reference_uid=series.frame_of_reference_uid,
    )
    made = compose(_case(series, [*_results(series), point]))
    return [one for one in made if one.Modality == "SR"]


def _written(folder: Path, series: Series, kind: str) -> Dataset:
    made = compose(_case(series, _results(series)), kinds=(kind,))
    write_object(made[0], folder / f"{kind}.dcm")
    return dcmread(folder / f"{kind}.dcm")


def _case(series: Series, results: Sequence[Result], **more: Any) -> Case:
    return Case(**{"inputs": {"ct": series}, "results": results, "identity": _identity(), **more})


def _identity() -> Identity:
    return Identity(
        study_uid=STUDY,
        revision=1,
        plugin="spleen",
        version="1",
        title="Spleen",
        manufacturer="",
        models=(),
        at=datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC),
        first_series_number=3000,
        device_uid="2.25.42",
    )


def _by_description(made: Sequence[Dataset], modality: str) -> list[Dataset]:
    return sorted((one for one in made if one.Modality == modality), key=lambda one: str(one.SeriesDescription))


def _groups(report: Dataset) -> Sequence[Dataset]:
    return list(report.ContentSequence[-1].ContentSequence)


def _said(report: Dataset) -> str:
    """Return the groups of a report in words, but for the UIDs, in which runs differ."""
    return "\n".join(_words(group) for group in _groups(report))


def _words(of: object) -> str:
    return re.sub(r"2\.25\.\d+", "uid", str(of))


def _read(folder: Path, made: Dataset) -> Dataset:
    write_object(made, folder / "read.dcm")
    return dcmread(folder / "read.dcm")
