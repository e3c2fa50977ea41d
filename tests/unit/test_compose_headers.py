"""What all objects take from the headers of their images, from the identity and from the node."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

from node.codes import UCUM, own
from node.compose import compose
from node.compose.ascii_text import plain
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.results import Measurement, Segmentation
from node.testing import ct_series
from tests.lung_case import (
    RIGHT,
    bytes_of,
    composed,
    lung_case,
    lung_identity,
    lung_labels,
    lungs_on,
    on_grid_of,
    raw_value,
    series_of,
    without,
)


def test_all_times_are_those_of_the_job(tmp_path: Path) -> None:
    images = ct_series()
    for image in images:
        image.TimezoneOffsetFromUTC = "+0230"
    series = series_of(tmp_path, images)
    at = datetime(2026, 11, 20, 23, 45, 6, tzinfo=UTC)
    for made in compose(lung_case(series, [lungs_on(series)], identity=replace(lung_identity(series), at=at))):
        for name in ("InstanceCreation", "Content", "Series"):
            assert (made[f"{name}Date"].value, made[f"{name}Time"].value) == ("20261121", "021506")
        assert (made.StudyDate, made.TimezoneOffsetFromUTC) == ("20240102", "+0230")


def test_objects_name_the_node_as_maker_and_the_plugin_as_contributor(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    for made in composed(series, [lungs_on(series)]):
        assert (made.Manufacturer, made.ManufacturerModelName) == ("isocenter project", "isocenter")
        assert (made.DeviceSerialNumber, made.SoftwareVersions) == ("2.25.42", IMPLEMENTATION_VERSION_NAME)
        scanner, plugin = made.ContributingEquipmentSequence
        assert (scanner.Manufacturer, plugin.Manufacturer) == ("ISOCENTER PHANTOM", "Lung makers")
        purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in (scanner, plugin)]
        assert purposes == ["109101", "109102"]
        assert "ct_lung 1.0.0" in plugin.ContributionDescription
        assert made.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert made.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_uids_depend_on_all_of_the_identity(tmp_path: Path) -> None:
    base = lung_identity(series_of(tmp_path, ct_series()))
    others = [
        replace(base, study_uid="1.2"),
        replace(base, revision=2),
        replace(base, plugin="x"),
        replace(base, version="2"),
        replace(base, title="other"),
        replace(base, at=datetime(2030, 1, 1, tzinfo=UTC)),
        replace(base, inputs="another digest"),
    ]
    assert len({identity.uid("sr") for identity in (base, *others)} | {base.uid("seg")}) == 9
    assert replace(base).uid("sr") == base.uid("sr")
    assert base.uid("sr").startswith("2.25.")
    assert len(base.uid("sr")) <= 64


NAMES = {
    "ISO_IR 100": "Müller^Jérôme",
    "ISO_IR 101": "Łukasz^Żółw",
    "ISO_IR 144": "Люкceмбypг^Анна",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 166": "สมชาย^ใจดี",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "Wang^XiaoDong=王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
}


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("character_set", NAMES)
def test_names_keep_their_bytes_in_every_character_set(
    tmp_path: Path, character_set: str, transfer_syntax: str
) -> None:
    images = ct_series(
        slices=3,
        patient_name=NAMES[character_set],
        character_set=character_set.split("\\"),
        transfer_syntax=transfer_syntax,
    )
    series = series_of(tmp_path, images)
    before = raw_value(images[0], "PatientName")
    assert any(byte > 127 or byte == 27 for byte in before)
    for made in compose(lung_case(series, [lungs_on(series)])):
        assert raw_value(made, "PatientName") == before
        assert dcmread(BytesIO(bytes_of(made))).PatientName == NAMES[character_set]
        assert dcmread(BytesIO(bytes_of(made))).SpecificCharacterSet == images[0].SpecificCharacterSet


def test_a_chinese_name_that_pydicom_cannot_write_again_keeps_its_bytes(tmp_path: Path) -> None:
    name = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    images = ct_series(slices=3)
    for image in images:
        image.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
        image.PatientName = PersonName(name, ["iso8859", "iso_ir_58"])
    series = series_of(tmp_path, images)
    (report,) = compose(lung_case(series, []))
    assert raw_value(report, "PatientName").rstrip() == name == raw_value(images[0], "PatientName").rstrip()


ODD: dict[str, dict[str, Any]] = {
    "sex U": {"PatientSex": "U"},
    "empty date": {"PatientBirthDate": "", "StudyDate": ""},
    "zero date": {"PatientBirthDate": "00000000"},
    "old time": {"StudyTime": "10:15:00"},
    "long accession number": {"AccessionNumber": "A" * 30},
    "long names": {"StudyDescription": "D" * 90, "PatientName": "N" * 80},
    "window of several": {"WindowCenter": [40, -600], "WindowWidth": [400, 1500]},
    "no thickness": {"SliceThickness": None},
    "animal": {"PatientSpeciesDescription": "Canis", "PatientSexNeutered": "ALTERED", "ResponsiblePerson": "Owner^The"},
    "lossy": {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
        "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "sided": {"BodyPartExamined": "KNEE", "Laterality": "L"},
    "admitted": {"AdmissionID": "7", "PatientAge": "066Y", "PatientWeight": 71.5, "PregnancyStatus": 4},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_headers_compose_and_keep_their_values(tmp_path: Path, odd: dict[str, Any]) -> None:
    images = ct_series(slices=3)
    for image in images:
        for keyword, value in odd.items():
            setattr(image, keyword, value)
    series = series_of(tmp_path, images)
    seg, report, *_ = compose(lung_case(series, [lungs_on(series)]))
    kept = [keyword for keyword in odd if keyword not in ("WindowCenter", "WindowWidth", "SliceThickness")]
    for keyword in kept:
        assert raw_value(seg, keyword) == raw_value(images[0], keyword)
        if keyword.startswith(("Patient", "Study", "Accession", "Admission", "Responsible")):
            assert raw_value(report, keyword) == raw_value(images[0], keyword)


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyDescription",
        "SliceThickness",
        "SpecificCharacterSet",
        "Manufacturer",
        "PositionReferenceIndicator",
        "BodyPartExamined",
        "SeriesDescription",
        "InstanceNumber",
        "SeriesNumber",
    ],
)
def test_an_absent_attribute_stops_nothing(tmp_path: Path, keyword: str) -> None:
    series = series_of(tmp_path, without(ct_series(slices=3), keyword))
    seg, report, *_ = composed(series, [lungs_on(series)])
    for made in (seg, report):
        if keyword in ("StudyDescription", "SpecificCharacterSet", "BodyPartExamined"):
            assert keyword not in made
        elif keyword.startswith(("Patient", "Study", "Accession", "Referring")):
            assert made[keyword].is_empty


def test_own_words_are_ascii_and_fit_their_attributes(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(character_set=["", "ISO 2022 IR 87"], patient_name="Yamada^Tarou=山田^太郎"))
    identity = replace(
        lung_identity(series),
        plugin="p" * 90,
        version="1.0.0+" + "9" * 40,
        title="Läsion – 病変 " + "x" * 90,
        manufacturer="Æ" * 90,
    )
    segment = replace(RIGHT, label="Rechte Lunge (größer, 右)")
    result = Segmentation(labels=on_grid_of(series, lung_labels(series) == 1), segments=[segment])
    seg, report, *_ = compose(lung_case(series, [result], identity=identity))
    assert seg.SegmentSequence[0].SegmentLabel == "Rechte Lunge (grosser, ?)"
    assert seg.SegmentSequence[0].SegmentAlgorithmName.startswith("Lasion - ?? xx")
    for made in (seg, report):
        assert len(made.SeriesDescription) <= 64
        assert made.SeriesDescription.endswith("(validation unknown, research)")
    assert plain("a\\b\nc", 64) == "a/b c"


def test_codes_of_a_private_scheme_are_identified(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series())
    measured = Measurement(name=own("SCORE", "Score of my own"), value=1, unit=UCUM.NoUnits)
    (report,) = composed(series, [measured])
    assert [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence] == ["99ISOCENTER"]
