"""One answer rests on images that agree: of one patient, and of one kind; the first image speaks for no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import MixedStudy, NotUnderstood, UnsuitableSeries
from node.images.agreement import CHECKED, MUST_AGREE, Remedy, Rule, Scope, check_stack, check_study
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.prior_search import Priors
from node.infer.run import run
from node.ledger import Ledger
from node.results import NotSuitable
from node.spool import Spool
from node.testing import ct_series, pet_series, plan_plugin, run_plugin, write
from tests.peers import DICOM
from tests.received import receive

THRESHOLD = Path(__file__).parents[1] / "crash" / "plugins" / "threshold"
VALUES: dict[str, tuple[Any, Any]] = {
    "PatientID": ("A1", "B2"),
    "IssuerOfPatientID": ("HOSPITAL", "CLINIC"),
    "PatientName": ("DOE^JANE", "ROE^RICHARD"),
    "PatientBirthDate": ("19500101", "19600101"),
    "PatientSex": ("F", "M"),
    "StudyDate": ("20240102", "20240103"),
    "AccessionNumber": ("A1", "A2"),
    "PatientWeight": ("70", "90"),
    "PatientSize": ("1.7", "1.9"),
    "Modality": ("PT", "CT"),
    "Laterality": ("L", "R"),
    "PatientPosition": ("HFS", "FFS"),
    "Units": ("BQML", "CNTS"),
    "SUVType": ("BW", "LBM"),
    "DecayCorrection": ("START", "NONE"),
    "RadionuclideTotalDose": ("300000000", "300000"),
    "RadionuclideHalfLife": ("6588", "1220"),
    "RadiopharmaceuticalStartTime": ("091500", "101500"),
    "RadiopharmaceuticalStartDateTime": ("20240102091500", "20240103091500"),
    "RescaleType": ("US", "HU"),
}
EVERY = pytest.mark.parametrize("rule", CHECKED, ids=lambda rule: str(rule.keyword))
EVERY_FORM = pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
Stacks = Callable[..., tuple[Series, ...]]


def put(images: list[Dataset], rule: Rule, value: Any) -> list[Dataset]:
    """Give images a value, or none."""
    for image in images:
        item = getattr(image, rule.sequence)[0] if rule.sequence else image
        if value is None:
            item.pop(rule.keyword, None)
        else:
            setattr(item, rule.keyword, value)
    return images


@pytest.fixture
def stacks(tmp_path: Path) -> Stacks:
    def made(*images: Dataset, syntax: str = "") -> tuple[Series, ...]:
        for image in images:
            image.file_meta.TransferSyntaxUID = syntax or image.file_meta.TransferSyntaxUID
        return group_into_stacks(map(Part10.of_file, write(images, tmp_path))).series

    return made


def check(found: tuple[Series, ...]) -> None:
    check_study(found)
    for series in found:
        check_stack(series)


def six(rule: Rule, one: Any, other: Any) -> list[Dataset]:
    """Make a PET series of which the second half has another value."""
    images = pet_series(slices=6)
    return put(images[:3], rule, one) + put(images[3:], rule, other)


@EVERY
@EVERY_FORM
def test_images_that_differ_are_parked_or_not_suitable(stacks: Stacks, rule: Rule, syntax: str) -> None:
    one, other = VALUES[rule.keyword]
    (series,) = found = stacks(*six(rule, one, other), syntax=syntax)
    if rule.remedy is Remedy.PARK:
        with pytest.raises(MixedStudy, match=f"two {rule.plural}.*{rule.clause}.*administrator") as raised:
            check(found)
        assert not any(value in str(raised.value) for value in (one, other)), "the sentence goes into the ledger"
    else:
        with pytest.raises(UnsuitableSeries, match="is not the same in all of its images") as refused:
            check(found)
        assert series.frames[0].sop_instance_uid in str(refused.value)
        assert series.frames[3].sop_instance_uid in str(refused.value)
        assert rule.clause in str(refused.value)


@EVERY
def test_an_absent_value_differs_only_where_the_table_says_so(stacks: Stacks, rule: Rule) -> None:
    found = stacks(*six(rule, VALUES[rule.keyword][0], None))
    if rule.absent_differs:
        with pytest.raises((MixedStudy, UnsuitableSeries)):
            check(found)
    else:
        check(found)


@EVERY
def test_equal_values_agree_however_they_are_written(stacks: Stacks, rule: Rule) -> None:
    images = six(rule, *[VALUES[rule.keyword][0]] * 2)
    if rule.keyword in ("PatientWeight", "RadionuclideTotalDose"):
        put(images[:1], rule, VALUES[rule.keyword][0] + ".0")
    if rule.keyword == "PatientName":
        put(images[:1], rule, "DOE^JANE^^^")
    check(stacks(*images))


def test_every_attribute_that_splits_a_series_does(stacks: Stacks) -> None:
    split = [rule.keyword for rule in MUST_AGREE if rule.remedy is Remedy.SPLIT]
    assert set(split) >= {"PhotometricInterpretation", "Rows", "FrameOfReferenceUID"}
    images = ct_series(slices=6)
    for image in images[3:]:
        image.PhotometricInterpretation = "MONOCHROME1"
    assert [len(series.frames) for series in stacks(*images)] == [3, 3]


def test_the_patient_is_the_same_in_all_series_of_a_study_and_other_attributes_may_differ(stacks: Stacks) -> None:
    first = ct_series(slices=3, series="1")
    second = ct_series(slices=3, series="2", study_uid=first[0].StudyInstanceUID)
    for image in second:
        image.PatientPosition, image.PatientName = "FFS", "DOE^J"
    check(stacks(*first, *second))
    for image in second:
        image.PatientID = "B2"
    with pytest.raises(MixedStudy, match="the study has images of two Patient IDs"):
        check(stacks(*first, *second))


def test_bits_stored_and_rescale_may_differ_because_each_image_is_read_by_its_own(stacks: Stacks) -> None:
    images = pet_series(slices=6)
    images[0].BitsStored, images[0].HighBit, images[0].RescaleSlope = 12, 11, 2
    check(stacks(*images))


def test_values_behind_a_long_private_element_are_found(stacks: Stacks) -> None:
    images = ct_series(slices=4)
    for image in images:
        image.add_new(0x00091010, "OB", b"x" * 300_000)
    images[3].RescaleType = "US"
    with pytest.raises(UnsuitableSeries, match="Rescale Type"):
        check(stacks(*images))


# The checks are made on every way to a plugin.


def test_no_job_is_planned_for_a_study_of_two_patients(tmp_path: Path) -> None:
    images = ct_series(slices=4)
    assert plan_plugin(THRESHOLD, images).plans
    images[3].PatientID = "B2"
    with pytest.raises(MixedStudy):
        plan_plugin(THRESHOLD, images)


def test_no_plugin_is_asked_about_two_patients(tmp_path: Path) -> None:
    images = ct_series(slices=4)
    images[3].PatientID = "B2"
    with pytest.raises(MixedStudy):
        run_plugin(THRESHOLD, {"ct": images}, {})


def test_roles_with_series_of_two_patients_are_refused(stacks: Stacks) -> None:
    first = ct_series(slices=3, series="1")
    second = ct_series(slices=3, series="2", study_uid=first[0].StudyInstanceUID, patient_id="B2")
    one, other = stacks(*first, *second)
    with pytest.raises(MixedStudy):
        run(None, {"ct": one, "pt": other}, None)  # type: ignore[arg-type]  # neither is asked


def test_a_stack_of_two_kinds_is_not_suitable_and_the_plugin_is_not_asked() -> None:
    images = ct_series(slices=4)
    images[3].PatientPosition = "FFP"
    (answer,) = run_plugin(THRESHOLD, {"ct": images}, {})
    assert isinstance(answer, NotSuitable)
    assert answer.reason.startswith("Patient Position is not the same in all of its images (PS3.3 C.7.3.1)")


def test_a_study_of_two_patients_is_nobodys_prior(spool: Spool, ledger: Ledger) -> None:
    earlier = ct_series(slices=4, seed="earlier", patient_id="A1")
    earlier[3].PatientID = "B2"
    receive(spool, ledger, earlier)
    priors = Priors(priors=ledger.priors, instances=ledger.instances, part10=spool.part10)
    now = ct_series(slices=1, patient_id="A1")[0]

    class Wanted:
        class now:  # noqa: N801
            modality = now.Modality

    sought = priors._of_study(str(earlier[0].StudyInstanceUID), Wanted())  # type: ignore[arg-type]
    assert isinstance(sought, str)
    assert "two Patient IDs" in sought


# What hospitals have agrees.


@pytest.mark.skipif(not DICOM.exists(), reason="the real data of ../shared is not here")
def test_every_real_study_agrees() -> None:
    studies: dict[str, list[Path]] = {}
    for path in sorted(path for path in DICOM.rglob("*") if path.is_file()):
        try:
            header = dcmread(path, force=True, specific_tags=["StudyInstanceUID"])
            studies.setdefault(str(header.StudyInstanceUID), []).append(path)
        except Exception:  # noqa: BLE001, S112 - malformed on purpose
            continue
    checked = 0
    for paths in studies.values():
        try:
            found = group_into_stacks(map(Part10.of_file, paths)).series
        except NotUnderstood:
            continue
        check(found)
        checked += len(found)
    assert checked > 100
    assert {rule.scope for rule in CHECKED} == set(Scope)
