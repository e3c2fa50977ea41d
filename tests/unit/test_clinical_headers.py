"""Any legal or slightly illegal clinical header composes, in every kind of object, and comes out as it went in."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.compose import KINDS, Case, compose, write_object
from node.compose.source_images import TYPE_2
from node.testing import ct_series, enhanced_mr, mammogram, radiograph, ultrasound
from tests.matrix import identity_of, results_of, series_in

IMAGES: dict[str, Callable[[], list[Dataset]]] = {
    "CT": lambda: ct_series(slices=3),
    "enhanced MR": lambda: [enhanced_mr()],
    "CR": lambda: [radiograph()],
    "MG": lambda: [mammogram()],
    "US": lambda: [ultrasound()],
}


def _without(*keywords: str) -> Callable[[Dataset], None]:
    def change(image: Dataset) -> None:
        for keyword in keywords:
            if keyword in image:
                delattr(image, keyword)

    return change


def _with(**values: Any) -> Callable[[Dataset], None]:
    def change(image: Dataset) -> None:
        for keyword, value in values.items():
            setattr(image, keyword, value)

    return change


def _named(name: str, *character_sets: str) -> Callable[[Dataset], None]:
    return _with(
        SpecificCharacterSet=list(character_sets), PatientName=name, SeriesDescription="", StudyDescription=name
    )


CHANGES: dict[str, Callable[[Dataset], None]] = {
    "no Type 2 attribute": _without(*TYPE_2),
    "empty Type 2 attributes": _with(**dict.fromkeys(TYPE_2)),
    "sex U": _with(PatientSex="U"),
    "birth date of zeros": _with(PatientBirthDate="00000000"),
    "date with dots, time with colons": _with(StudyDate="2024.01.02", StudyTime="10:15:00"),
    "no body part": _without("BodyPartExamined", "Laterality", "ImageLaterality"),
    "no frame of reference": _without("FrameOfReferenceUID", "PositionReferenceIndicator"),
    "no position": _without("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    "no slice thickness": _without("SliceThickness"),
    "no image type": _without("ImageType"),
    "one value of image type": _with(ImageType="ORIGINAL"),
    "no window": _without("WindowCenter", "WindowWidth"),
    "several windows": _with(WindowCenter=[40, -600], WindowWidth=[400, 1500]),
    "no instance number": _without("InstanceNumber"),
    "no manufacturer": _without("Manufacturer", "ManufacturerModelName"),
    "lossy": _with(
        LossyImageCompression="01", LossyImageCompressionRatio=10, LossyImageCompressionMethod="ISO_10918_1"
    ),
    "no character set": _without("SpecificCharacterSet"),
}

SCRIPTS: dict[str, Callable[[Dataset], None]] = {
    "Latin": _named("Müller^Jérôme", "ISO_IR 100"),
    "Japanese": _named("Yamada^Tarou=山田^太郎=やまだ^たろう", "", "ISO 2022 IR 87"),
    "Japanese, half width": _named("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "ISO 2022 IR 13", "ISO 2022 IR 87"),
    "Korean": _named("Hong^Gildong=洪^吉洞=홍^길동", "", "ISO 2022 IR 149"),
    "Chinese": _named("Wang^XiaoDong=王^小东", "GB18030"),
    "Chinese, extended": _named("Zhang^XiaoDong=张^小东", "", "ISO 2022 IR 58"),
    "Cyrillic": _named("Люкceмбypг", "ISO_IR 144"),
    "Arabic": _named("قباني^لنزار", "ISO_IR 127"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", IMAGES)
def test_an_odd_header_composes_and_the_patient_comes_out_as_he_went_in(tmp_path: Path, kind: str, change: str) -> None:
    images = IMAGES[kind]()
    for image in images:
        CHANGES[change](image)
    _check(tmp_path / "images", images[:1] if change == "no position" else images)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_name_in_another_script_keeps_its_bytes(tmp_path: Path, script: str) -> None:
    for kind in ("CT", "CR"):
        images = IMAGES[kind]()
        for image in images:
            SCRIPTS[script](image)
        _check(tmp_path / kind, images)


def _check(folder: Path, images: list[Dataset]) -> None:
    series = series_in(folder, images)
    source = dcmread(next(folder.glob("*.dcm")))
    objects = _composed({"image": series}, results_of({"image": series}))
    assert len({str(one.SOPClassUID) for one in objects}) >= 6
    for one in objects:
        for keyword in (*TYPE_2, "SpecificCharacterSet", "StudyDescription"):
            assert _bytes(one, keyword) == _bytes(source, keyword), keyword


def _composed(inputs: Any, results: Sequence[Any]) -> list[Dataset]:
    read = []
    for made in compose(
        Case(inputs=inputs, results=results, identity=identity_of(inputs["image"])), kinds=tuple(KINDS)
    ):
        content = BytesIO()
        write_object(made, content)
        read.append(dcmread(BytesIO(content.getvalue())))
    return read


def _bytes(dataset: Dataset, keyword: str) -> Any:
    element = dataset.get_item(keyword)
    return (element.value or b"") if element is not None else b""
