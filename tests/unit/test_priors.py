"""Which earlier series of a patient a job is given, of those that are here, and that it goes on where there is none."""

import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from node import testing
from node.compose import write_object
from node.errors import ConfigError, DestinationUnavailable
from node.host import Plugin, read_plugin
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order, Priors, run
from node.ledger import Ledger
from node.records import Arrival, Instance, Job, JobState, StudyState
from node.results import NotSuitable
from node.route import Route, Routes, plan
from node.spool import Spool
from node.triton.fake import FakeTriton

MANIFEST = """\
name = "growth"
version = "1"
title = "Growth"
kind = "A"
[series.ct]
when.Modality = "CT"
{more}
"""
PRIOR = '[series.prior]\nprior_of = "ct"\n'
CODE = """\
from node import NotSuitable

def run(ct, prior, triton):
    return NotSuitable(prior.study_uid if prior else "none")
"""
EARLIER, LATEST, NOW = "20230101", "20230601", "20240102"


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Plugin]:
    def made(more: str = PRIOR, code: str = CODE) -> Plugin:
        folder = tmp_path / "growth"
        folder.mkdir(exist_ok=True)
        (folder / "plugin.toml").write_text(MANIFEST.format(more=more))
        (folder / "plugin.py").write_text(code)
        return read_plugin(folder)

    return made


def study(seed: str, date: str, **wanted: Any) -> list[Dataset]:
    changes = {name: wanted.pop(name) for name in list(wanted) if name[0].isupper()}
    images = testing.ct_series(**{"slices": 4, "rows": 8, "columns": 8, "seed": seed, **wanted})
    for image in images:
        image.StudyDate = date
        for keyword, value in changes.items():
            setattr(image, keyword, value)
    return images


@pytest.fixture
def keep(ledger: Ledger, spool: Spool) -> Callable[..., list[Arrival]]:
    """Receive images, and take their study for routed unless it was asked for."""

    def made(images: Sequence[Dataset], *, originator: str = "") -> list[Arrival]:
        pack, arrivals = spool.open_pack(), []
        for image in images:
            content = BytesIO()
            write_object(image, content)
            instance = Instance(
                sop_instance_uid=image.SOPInstanceUID, sop_class_uid=image.SOPClassUID,
                study_uid=image.StudyInstanceUID, series_uid=image.SeriesInstanceUID, modality=image.Modality,
                transfer_syntax_uid=image.file_meta.TransferSyntaxUID, calling="CT1", peer="127.0.0.1",
                received_at=ledger.db.clock(), checksum=0, originator=originator,
            )  # fmt: skip
            arrivals.append(pack.append(instance, content.getvalue()))
        pack.close()
        ledger.instances.record(arrivals)
        seen = ledger.studies.find(images[0].StudyInstanceUID)
        assert seen
        if ledger.studies.settle(seen, "settled by the test"):
            stable = ledger.studies.find(seen.study_uid)
            assert stable
            ledger.studies.plan(stable, [], [])
        return arrivals

    return made


@pytest.fixture
def given(
    ledger: Ledger, spool: Spool, plugin: Callable[..., Plugin], keep: Callable[..., list[Arrival]]
) -> Callable[..., tuple[str | None, str]]:
    """Receive a study of now, and return the series key of the prior that its job gets, and the remark."""

    def made(images: Sequence[Dataset], archive: Any = None, seconds: float = 30) -> tuple[str | None, str]:
        parts = tuple(spool.part10(row.place, "") for row in keep(images))
        job = Job(
            id=1, study_uid=images[0].StudyInstanceUID, revision=1, plugin="growth", version="1", route="r",
            inputs=({"ct": images[0].SeriesInstanceUID},), destinations=(), state=JobState.RUNNING, attempts=1,
            planned_at=0, ordinal=0, worker="", reason="",
        )  # fmt: skip
        order = Order(job=job, plugin=plugin(), parts=parts, predecessors=(), device_uid="2.25.1", inputs="")
        priors = Priors(
            priors=ledger.priors, instances=ledger.instances, part10=spool.part10, archive=archive, seconds=seconds
        )
        found, (remark,) = priors.add_to(order, lambda: True)
        key = found.job.inputs[0].get("prior")
        if key is not None:
            series = {stack.key: stack for stack in group_into_stacks(found.parts).series}
            assert series[key].volume().array.shape == series[order.job.inputs[0]["ct"]].volume().array.shape
        return key, remark

    return made


@pytest.mark.parametrize("other", [{"rows": 9}, {"slices": 5}])
def test_the_images_of_the_prior_are_among_the_inputs_of_the_job(
    ledger: Ledger, spool: Spool, plugin: Callable[..., Plugin], keep: Callable[..., list[Arrival]], other: Any
) -> None:
    """UIDs are derived from them: by their UIDs and their bytes."""
    now = study("now", NOW)
    parts = tuple(spool.part10(row.place, "") for row in keep(now))
    job = Job(
        id=1, study_uid=now[0].StudyInstanceUID, revision=1, plugin="growth", version="1", route="r", ordinal=0,
        inputs=({"ct": now[0].SeriesInstanceUID},), destinations=(), state=JobState.RUNNING, attempts=1,
        planned_at=0, worker="", reason="",
    )  # fmt: skip
    order = Order(job=job, plugin=plugin(), parts=parts, predecessors=(), device_uid="2.25.1", inputs="1f")
    priors = Priors(priors=ledger.priors, instances=ledger.instances, part10=spool.part10)
    seen = []
    for kept in ([], study("before", LATEST), study("before", LATEST), study("before", LATEST, **other)):
        if kept:
            keep(kept)
        seen.append(priors.add_to(order, lambda: True)[0].inputs)
    none, once, again, another = seen
    assert once == again
    assert len({none, once, another}) == 3


Given = Callable[..., tuple[str | None, str]]
Keep = Callable[..., list[Arrival]]


# What a manifest may ask for.


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ('[series.prior]\nprior_of = "mr"\n', "series.prior.prior_of: 'mr' must be a role"),
        ('[series.prior]\nprior_of = "prior"\n', "series.prior.prior_of: 'prior' must be a role"),
    ],
)
def test_a_prior_is_of_a_role_whose_series_is_of_the_study(
    plugin: Callable[..., Plugin], more: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plugin(more)


def test_a_plugin_needs_a_series_of_the_study_itself(tmp_path: Path) -> None:
    (tmp_path / "growth").mkdir()
    text = MANIFEST.format(more="").replace('when.Modality = "CT"', "optional = true")
    (tmp_path / "growth" / "plugin.toml").write_text(text)
    with pytest.raises(ConfigError, match="every role is optional or a prior"):
        read_plugin(tmp_path / "growth")


def test_priors_are_not_planned_and_optional_roles_may_be_empty(plugin: Callable[..., Plugin], tmp_path: Path) -> None:
    more = PRIOR + '[series.mr]\nwhen.Modality = "MR"\noptional = true\n'
    chosen = plugin(more, CODE.replace("prior, triton", "prior, mr, triton"))
    files = testing.write(study("now", NOW), tmp_path / "images")
    series = group_into_stacks(Part10.of_file(file) for file in files).series
    route = Route(name="r", when={}, plugins=("growth",), to=("PACS",))
    checksums = {frame.sop_instance_uid: 0 for stack in series for frame in stack.frames}
    planned = plan(series, Routes(routes=(route,), plugins={"growth": chosen}, quiet_seconds=0), checksums)
    assert planned.plans[0].inputs == ({"ct": series[0].key},)
    assert run(chosen, {"ct": series[0]}, FakeTriton({})) == (NotSuitable("none"),)


# What is here.


def test_the_newest_earlier_series_of_the_patient_is_the_prior(given: Given, keep: Keep) -> None:
    for seed, date in (("a", EARLIER), ("b", LATEST), ("c", "20250101")):
        keep(study(seed, date))
    key, remark = given(study("now", NOW))
    assert key == study("b", LATEST)[0].SeriesInstanceUID
    assert remark == f"prior is series {key} of study {study('b', LATEST)[0].StudyInstanceUID}"


@pytest.mark.parametrize(
    "wanted",
    [
        {"patient_id": "ANOTHER"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"PatientBirthDate": "19510101"},
        {"StudyDate": NOW},
        {"StudyDate": ""},
        {"Modality": "MR"},
        {"BodyPartExamined": "HEAD"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"SyntheticData": "YES"},
        {"orientation": testing.CORONAL},
    ],
    ids=lambda wanted: next(iter(wanted)),
)
def test_a_series_of_another_patient_time_or_kind_is_no_prior(given: Given, keep: Keep, wanted: dict[str, Any]) -> None:
    keep(study("before", EARLIER, **wanted))
    key, remark = given(study("now", NOW, IssuerOfPatientID="HERE"))
    assert key is None
    assert remark == "there is no prior: no earlier study of the patient that is here has such a series"


def test_a_prior_may_have_an_issuer_where_the_present_study_has_none(given: Given, keep: Keep) -> None:
    keep(study("before", EARLIER))
    assert given(study("now", NOW, IssuerOfPatientID="HERE"))[0] is not None


def test_images_without_a_patient_id_have_no_prior(given: Given, keep: Keep) -> None:
    keep(study("before", EARLIER, patient_id=""))
    assert given(study("now", NOW, patient_id="")) == (
        None,
        "there is no prior: its images have no Patient ID, or no Study Date",
    )


def test_of_several_series_the_most_similar_is_the_prior(given: Given, keep: Keep) -> None:
    keep(
        [
            *study("before", EARLIER, series="1", description="Bone", slices=6),
            *study("before", EARLIER, series="2", description="Lung"),
        ]
    )
    assert given(study("now", NOW, description="Lung"))[0] == testing.uid("before", "2", "series")


@pytest.mark.parametrize("copied", ["SOPInstanceUID", "SeriesInstanceUID"])
def test_a_series_with_uids_of_the_present_one_is_no_prior(given: Given, keep: Keep, copied: str) -> None:
    """Each study keeps what it received; a job that got both series could not tell their images apart."""
    now, earlier = study("now", NOW), study("earlier", EARLIER)
    for image, other in zip(earlier, now, strict=True):
        setattr(image, copied, getattr(other, copied))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    keep(earlier)
    key, remark = given(now)
    assert key is None
    assert remark.startswith("there is no prior: ")


def test_a_job_without_the_bytes_of_its_prior_runs_without_a_prior(given: Given, keep: Keep, spool: Spool) -> None:
    (arrival, *_) = keep(study("before", EARLIER))
    (spool.packs / arrival.place.pack).unlink()
    assert given(study("now", NOW))[0] is None


# What an archive has.


class Archive:
    """Answers as an archive that has one study; `sends` is called when it sends a series."""

    name, calling = "PACS", "ISOCENTER"

    def __init__(self, images: Sequence[Dataset], sends: Callable[[], int]) -> None:
        self.images, self.sends, self.asked = images, sends, 0

    def studies(self, of: Any, modality: str, *, until: float) -> Sequence[Dataset]:
        return self.images[:1]

    def series(self, study_uid: str, modality: str, *, until: float) -> Sequence[Dataset]:
        return self.images[:1]

    def send(self, study_uid: str, series_uid: str, *, until: float) -> int:
        self.asked += 1
        return self.sends()


def test_a_prior_is_fetched_once_and_is_not_analysed(given: Given, keep: Keep, ledger: Ledger) -> None:
    before = study("before", EARLIER)
    archive = Archive(before, lambda: len(keep(before, originator="ISOCENTER")))
    assert given(study("now", NOW), archive)[0] == before[0].SeriesInstanceUID
    found = ledger.studies.find(before[0].StudyInstanceUID)
    assert found
    assert found.state is StudyState.PRIOR
    assert given(study("again", NOW), archive)[0] is not None
    assert archive.asked == 1


def test_an_archive_that_sends_another_patient_is_refused(given: Given, keep: Keep) -> None:
    before, other = study("before", EARLIER), study("before", EARLIER, patient_id="ANOTHER")
    key, remark = given(study("now", NOW), Archive(before, lambda: len(keep(other, originator="ISOCENTER"))))
    assert key is None
    assert "it is of another patient: its Patient ID differs" in remark
    assert "ANOTHER" not in remark


def test_half_a_series_is_no_prior(given: Given, keep: Keep, ledger: Ledger) -> None:
    before = study("before", EARLIER)

    def half() -> int:
        keep(before[:2], originator="ISOCENTER")
        raise DestinationUnavailable("it gave no answer in time")

    archive = Archive(before, half)
    assert given(study("now", NOW), archive) == (None, "there is no prior: PACS: it gave no answer in time")
    assert given(study("again", NOW)) == (
        None,
        "there is no prior: no earlier study of the patient that is here has such a series",
    ), "nor later, while the rest has not come"
    archive.sends = lambda: len(keep(before, originator="ISOCENTER"))
    assert given(study("third", NOW), archive)[0] is not None


def test_an_archive_that_hangs_delays_the_job_only_as_long_as_allowed(given: Given) -> None:
    begun = time.monotonic()

    def hang() -> int:
        time.sleep(4)
        return 1

    key, remark = given(study("now", NOW), Archive(study("before", EARLIER), hang), seconds=0.1)
    assert (key, remark) == (None, "there is no prior: PACS gave no answer in 0.1 s")
    assert time.monotonic() - begun < 4
