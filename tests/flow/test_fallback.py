"""Objects whose SOP class a destination refuses are replaced by other kinds, as its profile says; also with Orthanc."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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

from node.commands.explain import explain
from node.compose import compose, compose_job, fall_back, job_identity, write_object
from node.compose.content_items import walk
from node.compose.conversions import (
    CLASSES,
    names_segmentations,
    without_segmentations,
)
from node.deliver import Outbox
from node.host.manifest import Manifest
from node.images.series import Series
from node.ledger import Ledger
from node.ledger.fallbacks import Fallbacks
from node.profiles import PROFILES, Profile
from node.records import Address, DeliveryState, Job, Plan
from node.results import Segmentation
from node.spool import Spool
from tests.liver_case import (
    STUDY,
    liver_case,
    liver_identity,
    liver_images,
    liver_results,
    read_back,
    text_of,
    without_uids,
)
from tests.peers import Orthanc, complaints

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:pynetdicom")

MANIFEST = Manifest.model_validate(
    {
        "name": "spleen",
        "version": "1",
        "title": "Spleen",
        "kind": "A",
        "models": ["spleen"],
        "series": {"ct": {"when": {}}},
    }
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
        return sorted(kinds[str(dataset.SOPClassUID)] for dataset in self.stored)

    def keep(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.stored.append(dataset)
        return 0x0000


@pytest.fixture
def start() -> Iterator[Callable[..., Peer]]:
    entities: list[AE] = []

    def make(*kinds: str) -> Peer:
        entity, peer = AE("PEER"), Peer()
        for kind in kinds:
            entity.add_supported_context(CLASSES[kind])  # type: ignore[index]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, peer.keep)])
        assert server is not None
        peer.port = server.server_address[1]
        entities.append(entity)
        return peer

    yield make
    for entity in entities:
        entity.shutdown()


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return liver_images(tmp_path)


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
        job = self.ledger.jobs.claim(lease_seconds=60)
        assert job is not None
        called = partial(job_identity, job, MANIFEST, lambda model: "1", device_uid="2.25.42", inputs="1f")
        runs = [({"ct": self.series}, liver_results(self.series))]
        objects, to, _ = compose_job(profiles, job, called, self.spool, (), runs)
        assert self.ledger.jobs.finish(job, objects, recipients=to)
        return job

    def deliver(self, address: Address, profile: Profile, destination: str = "PACS") -> None:
        outbox = Outbox(
            destination=destination,
            address=address,
            calling="ISOCENTER",
            seconds=10,
            give_up_seconds=1e6,
            deliveries=self.ledger.deliveries,
            spool=self.spool,
            clock=self.ledger.db.clock,
            transfer_syntax="1.2.840.10008.1.2.1",
        )
        more = True
        while more:
            wait = outbox.deliver()
            found = fall_back(self.ledger.fallbacks, self.ledger.instances, self.spool, destination, profile)
            more = bool(found) or (wait is not None and wait <= 0)

    def states(self) -> dict[str, int]:
        found = [str(delivery.state) for delivery in self.ledger.deliveries.of(STUDY)]
        return {state: found.count(state) for state in found}


@pytest.fixture
def node(
    ledger: Ledger,
    spool: Spool,
    series: Series,
    routed: Callable[..., int],
    wanted: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> Node:
    monkeypatch.setattr("node.compose.fallback.group_into_stacks", lambda _: SimpleNamespace(series=[series]))
    return Node(ledger, spool, series, lambda to: routed(wanted(to=to)))


ORTHANC = PROFILES["orthanc"]
LABELMAP = replace(ORTHANC, objects=("LABELMAP", "SR"))


@pytest.mark.parametrize(
    ("takes", "profile", "gets"),
    [
        (("SEG", "SR"), ORTHANC, ["SEG", "SR"]),
        (("LABELMAP", "SR"), LABELMAP, ["LABELMAP", "SR"]),
        (("SEG", "SR"), LABELMAP, ["SEG", "SR"]),
        (("SEG", "COMPREHENSIVE"), ORTHANC, ["COMPREHENSIVE", "SEG"]),
        (("SEG", "ENHANCED"), ORTHANC, ["ENHANCED", "SEG"]),
        (("SR", "SC"), ORTHANC, ["SC", "SR"]),
        (("SR", "GSPS"), ORTHANC, ["GSPS", "SR"]),
        (("GSPS", "SC"), ORTHANC, ["GSPS"]),
        (("GSPS",), replace(ORTHANC, objects=("SR",)), ["GSPS"]),
        (("GSPS",), replace(LABELMAP, fallback=("GSPS",)), ["GSPS"]),
        (("SC",), replace(ORTHANC, objects=("SEG",)), ["SC"]),
        (("PDF",), replace(ORTHANC, objects=("SC",)), ["PDF"]),
        (("SC",), ORTHANC, ["SC"]),
        (("PDF",), ORTHANC, ["PDF"]),
        (("SC", "PDF"), PROFILES["plain-pacs"], ["PDF", "SC"]),
        (("PDF",), PROFILES["plain-pacs"], ["PDF"]),
        (("SEG", "SR", "GSPS"), PROFILES["weasis"], ["GSPS", "SEG", "SR"]),
        (("GSPS",), PROFILES["weasis"], ["GSPS"]),
    ],
)
def test_a_destination_gets_the_best_kinds_that_it_accepts(
    node: Node, start: Callable[..., Peer], takes: tuple[str, ...], profile: Profile, gets: list[str]
) -> None:
    peer = start(*takes)
    node.finish(PACS=profile)
    node.deliver(peer.address, profile)
    assert peer.classes() == gets
    assert {dataset.StudyInstanceUID for dataset in peer.stored} == {STUDY}
    assert {str(dataset.get("PatientName")) for dataset in peer.stored} == {"PHANTOM^CHEST"}
    assert set(node.states()) <= {"delivered", "replaced"}


def test_a_report_is_sent_without_a_segmentation_that_is_refused(node: Node, start: Callable[..., Peer]) -> None:
    peer = start("SR", "GSPS")
    node.finish(PACS=ORTHANC)
    node.deliver(peer.address, ORTHANC)
    made = compose(
        liver_case(
            node.series,
            liver_results(node.series),
            identity=replace(liver_identity(), models=("spleen 1",), kind=MANIFEST.kind),
        ),
        kinds=("SR",),
    )
    for report, expected in zip(_by_description(peer.stored, "SR"), _by_description(made, "SR"), strict=True):
        assert not names_segmentations(report)
        tracked = {item.UID for item in walk(report) if item.get("ValueType") == "UIDREF" and len(item.UID) > 30}
        assert len(tracked) >= 2
        assert text_of(report) == text_of(expected)
        assert "PredecessorDocumentsSequence" not in report
    assert node.states() == {"delivered": 2, "replaced": 2}
    assert "which PACS does not take; a report without it in its place" in "\n".join(explain(node.ledger, STUDY))


def test_a_destination_that_wants_no_segmentation_has_a_report_of_its_own(
    node: Node, start: Callable[..., Peer]
) -> None:
    rich, plain = start("SEG", "SR"), start("SEG", "SR")
    reports = replace(ORTHANC, objects=("SR", "SC"))
    node.finish(PACS=ORTHANC, READER=reports)
    node.deliver(rich.address, ORTHANC)
    node.deliver(plain.address, reports, "READER")
    named = [[names_segmentations(report) for report in _by_description(peer.stored, "SR")] for peer in (rich, plain)]
    assert named == [[True], [False]]
    assert not {dataset.SOPInstanceUID for dataset in rich.stored} & {
        dataset.SOPInstanceUID for dataset in plain.stored
    }


def test_a_report_stored_earlier_is_replaced_by_a_report_without_the_segmentation(
    node: Node, start: Callable[..., Peer]
) -> None:
    """Two processes deliver to it: one sent the report while the other learned that the Segmentation is not taken."""
    peer = start("SR", "GSPS")
    node.finish(PACS=ORTHANC)
    held = {
        delivery.object.sop_instance_uid: delivery
        for delivery in node.ledger.deliveries.claim("PACS", lease_seconds=60)
    }
    reports = [delivery for delivery in held.values() if delivery.object.kind == "SR"]
    for report in reports:
        node.ledger.deliveries.mark_delivered(report)
    node.ledger.deliveries.release([delivery for delivery in held.values() if delivery.object.kind == "SEG"])
    node.deliver(peer.address, ORTHANC)
    (report,) = [dataset for dataset in peer.stored if dataset.Modality == "SR"]
    assert not names_segmentations(report)
    (study,) = report.PredecessorDocumentsSequence
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named in {delivery.object.sop_instance_uid for delivery in reports}
    assert report.SOPInstanceUID != without_segmentations(_read(node, named), follows=False).SOPInstanceUID


def _read(node: Node, uid: str) -> Dataset:
    (path,) = node.spool.objects.rglob(f"{uid}.dcm")
    return dcmread(path)


@pytest.mark.parametrize("profile", [ORTHANC, LABELMAP])
def test_presentation_states_made_from_stored_objects_equal_those_of_the_job(
    node: Node, start: Callable[..., Peer], profile: Profile, tmp_path: Path
) -> None:
    peer = start("GSPS")
    profile = replace(profile, fallback=("GSPS",))
    node.finish(PACS=profile)
    node.deliver(peer.address, profile)
    (expected,) = compose(liver_case(node.series, liver_results(node.series)), kinds=("GSPS",))
    made, expected = (read_back(tmp_path, state) for state in (*peer.stored, expected))
    for keyword in ("GraphicAnnotationSequence", "ReferencedSeriesSequence", "SoftcopyVOILUTSequence", "Modality"):
        assert without_uids(made[keyword]) == without_uids(expected[keyword])
    for ours, other in zip(made.GraphicLayerSequence, expected.GraphicLayerSequence, strict=True):
        colors = [layer.GraphicLayerRecommendedDisplayCIELabValue for layer in (ours, other)]
        assert np.allclose(*colors, atol=300)
        assert ours.GraphicLayerDescription == other.GraphicLayerDescription


def test_replacements_are_valid_and_named_as_their_destination_wants(
    node: Node, start: Callable[..., Peer], tmp_path: Path
) -> None:
    named = replace(ORTHANC, series_description="{title} {kind} research", first_series_number=700)
    taken = {"STATES": ("GSPS",), "PICTURES": ("SC",), "PAGES": ("PDF",), "REPORTS": ("SR", "GSPS")}
    node.finish(**dict.fromkeys(taken, named))
    (tmp_path / "made").mkdir()
    for destination, takes in taken.items():
        peer = start(*takes)
        node.deliver(peer.address, named, destination)
        for dataset in peer.stored:
            assert str(dataset.SeriesDescription).startswith("Spleen ")
            assert 700 <= dataset.SeriesNumber < 800
            write_object(dataset, tmp_path / "made" / f"{dataset.SOPInstanceUID}.dcm")
    assert complaints(tmp_path / "images", tmp_path / "made", "DicomSRValidator") == set()


def test_a_delivery_whose_last_fallback_is_refused_is_parked_and_can_be_requeued(
    node: Node, start: Callable[..., Peer]
) -> None:
    node.finish(PACS=ORTHANC)
    node.deliver(start("GSPS").address, replace(ORTHANC, fallback=("SC",)))
    parked = [delivery for delivery in node.ledger.deliveries.of(STUDY) if delivery.state is DeliveryState.PARKED]
    assert [delivery.object.kind for delivery in parked] == ["OT"]
    assert "PACS does not take it: SOP class Secondary Capture Image Storage is not accepted" in parked[0].reason
    assert "and requeue" in parked[0].reason
    explained = "\n".join(explain(node.ledger, STUDY))
    assert (
        "replaced – PACS does not take it: SOP class Segmentation Storage is not accepted; SC in its place" in explained
    )
    assert "object.replaced" in explained
    peer = start("SC")
    node.ledger.queries.requeue(STUDY)
    node.deliver(peer.address, ORTHANC)
    assert peer.classes() == ["SC"]


def test_each_destination_gets_its_own_replacements(node: Node, start: Callable[..., Peer]) -> None:
    rich, poor = start("SEG", "SR"), start("SC", "PDF")
    node.finish(PACS=ORTHANC, OLD=PROFILES["plain-pacs"])
    node.deliver(rich.address, ORTHANC)
    node.deliver(poor.address, PROFILES["plain-pacs"], "OLD")
    assert (rich.classes(), poor.classes()) == (["SEG", "SR"], ["PDF", "SC"])
    assert node.states() == {"delivered": 4}


def test_destinations_with_other_preferences_get_objects_of_their_own(node: Node, start: Callable[..., Peer]) -> None:
    named = replace(ORTHANC, series_description="{title} {kind}", first_series_number=900, most_frames=4)
    first, second = start("SEG", "SR"), start("SEG", "SR")
    node.finish(PACS=ORTHANC, ARCHIVE=named)
    node.deliver(first.address, ORTHANC)
    node.deliver(second.address, named, "ARCHIVE")
    assert not {dataset.SOPInstanceUID for dataset in first.stored} & {
        dataset.SOPInstanceUID for dataset in second.stored
    }
    described = {str(dataset.SeriesDescription) for dataset in second.stored}
    assert described == {"Spleen SEG", "Spleen SR"}
    assert min(dataset.SeriesNumber for dataset in second.stored) == 900
    assert all(dataset.NumberOfFrames <= 4 for dataset in second.stored if dataset.Modality == "SEG")


def test_running_twice_does_no_harm(node: Node, start: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """The node dies after the new object is kept and before its row is there: it makes the very same again."""
    node.finish(PACS=LABELMAP)
    peer = start("SEG", "SR")
    with monkeypatch.context() as broken:
        broken.setattr(Fallbacks, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            node.deliver(peer.address, LABELMAP)
    folder = node.spool.objects / STUDY
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    node.deliver(peer.address, LABELMAP)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    node.deliver(peer.address, LABELMAP)
    assert peer.classes() == ["SEG", "SR"]


def test_orthanc_stores_each_object_or_its_replacement(node: Node, pacs: Orthanc) -> None:
    """Debian's Orthanc refuses Label Map Segmentation Storage."""
    node.finish(PACS=LABELMAP)
    node.deliver(Address.parse(pacs.address), LABELMAP)
    stored = pacs.objects()
    assert sorted(dataset.Modality for dataset in stored) == ["SEG", "SR"]
    (seg,) = [dataset for dataset in stored if dataset.Modality == "SEG"]
    assert seg.SegmentationType == "BINARY"
    labels = next(result for result in liver_results(node.series) if isinstance(result, Segmentation)).labels.array
    read = hd.seg.Segmentation.from_dataset(seg)
    assert np.count_nonzero(read.get_volume(combine_segments=True).array) == np.count_nonzero(labels)
    assert node.states() == {"delivered": 2, "replaced": 1}


def _by_description(made: Sequence[Dataset], modality: str) -> list[Dataset]:
    return sorted(
        (dataset for dataset in made if dataset.Modality == modality),
        key=lambda dataset: str(dataset.SeriesDescription),
    )
