"""A header summary leads to the same stacks and the same voxels as the header, for every kind of instance."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node import testing
from node.errors import NotUnderstood, UnsuitableSeries
from node.images import stored_instance
from node.images.frame_reading import value_of
from node.images.header_summary import HeaderSummary, read_summary, summarize, summarize_file
from node.images.part10 import Part10
from node.images.series import LOWEST_HU, Series
from node.images.stacks import StudyStacks, group_into_stacks
from node.receive.header_fields import walked

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

DATA = Path(__file__).parents[3] / "shared" / "data" / "dicom"
FOLDERS = sorted({path.parent for path in DATA.rglob("*") if path.is_file()}) if DATA.is_dir() else []
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)

Parsing = Callable[[Sequence[Part10]], StudyStacks]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsing:
    """The same without summaries: pydicom reads every header."""

    def without_summaries(parts: Sequence[Part10]) -> StudyStacks:
        with monkeypatch.context() as patched:
            patched.setattr(stored_instance, "read_summary", lambda _: None)
            patched.setattr(stored_instance, "_first_bytes_summary", lambda _: None)
            return group_into_stacks(parts)

    return without_summaries


def summarized(parts: Sequence[Part10]) -> list[Part10]:
    """The same parts with the summaries that the receiver would have made."""
    return [Part10(path=part.path, offset=part.offset, length=part.length, summary=received(part)) for part in parts]


def received(part: Part10) -> str:
    content = part.read()
    try:
        at = dcmread(part.path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength + 144
        syntax = str(dcmread(part.path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError):
        return ""
    return summarize(walked(content[at:], syntax), syntax, before=at)


def described(assembled: StudyStacks) -> Any:
    return assembled.set_aside, [
        (
            series.key,
            series.warnings,
            series.modality,
            series.study_uid,
            series.series_uid,
            series.frame_of_reference_uid,
            [identity.to_json() for identity in series.identities],
            [
                (frame.sop_instance_uid, frame.sop_class_uid, frame.number, frame.multi_frame, frame.position,
                 frame.orientation, frame.spacing, frame.slope, frame.intercept)
                for frame in series.frames
            ],
        )
        for series in assembled.series
    ]  # fmt: skip


def plainly(series: Series) -> NDArray[Any]:
    """The volume as it is defined, one slice after the other."""
    planes = list(series.read(series.frames))
    whole = all(frame.slope == 1 and frame.intercept.is_integer() for frame in series.frames)
    if whole and all(plane.dtype.kind in "iu" for plane in planes):
        exact = [
            plane.astype(np.int64) + int(frame.intercept) for frame, plane in zip(series.frames, planes, strict=True)
        ]
        if min(plane.min() for plane in exact) >= -32768 and max(plane.max() for plane in exact) <= 32767:
            return raised(np.stack(exact).astype(np.int16), series)
    return raised(
        np.stack(
            [
                (plane * np.float32(frame.slope) + np.float32(frame.intercept)).astype(np.float32)
                for frame, plane in zip(series.frames, planes, strict=True)
            ]
        ),
        series,
    )


def raised(array: NDArray[Any], series: Series) -> NDArray[Any]:
    return np.maximum(array, array.dtype.type(LOWEST_HU)) if series.modality == "CT" else array


def assert_same(parts: Sequence[Part10], parsed: Parsing) -> None:
    """Stacks, volumes and refusals are the same from summaries, from the first bytes of files, and from headers."""
    before = parsed(parts)
    for again in (group_into_stacks(parts), group_into_stacks(summarized(parts))):
        assert described(again) == described(before)
        for one, other in zip(again.series, before.series, strict=True):
            mine, theirs = outcome(one), outcome(other)
            assert type(mine) is type(theirs)
            if isinstance(mine, str):
                assert mine == theirs
            else:
                assert mine.dtype == theirs.dtype
                assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
                expected = plainly(other)
                assert mine.dtype == expected.dtype
                assert np.array_equal(mine, expected, equal_nan=mine.dtype.kind == "f")


def outcome(series: Series) -> Any:
    try:
        return series.volume().array
    except UnsuitableSeries as error:
        return str(error)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(DATA)))
def test_notes_say_the_same_as_real_headers(folder: Path, parsed: Parsing) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SOURCE.txt")
    assert_same([Part10.of_file(path) for path in files], parsed)


SERIES: dict[str, Callable[[], list[Dataset]]] = {
    **{f"ct {syntax.name}": lambda syntax=syntax: testing.ct_series(transfer_syntax=syntax) for syntax in SYNTAXES},
    "mr": testing.mr_series,
    "coronal": lambda: testing.ct_series(orientation=testing.CORONAL),
    "cr": lambda: [testing.radiograph()],
    "enhanced": lambda: [testing.enhanced_ct(slices=4)],
    "tilted": lambda: testing.tilted(testing.ct_series(), 12),
    "missing": lambda: testing.without(testing.ct_series(), 3),
    "duplicated": lambda: testing.duplicated(testing.ct_series(), 2),
    "echoes": lambda: testing.repeated(testing.mr_series(), 2, EchoTime=["2.50", "5.0"]),
    "time points": lambda: testing.repeated(testing.mr_series(), 3, AcquisitionTime=["101500", "101510.5", "101520"]),
    "phases": lambda: testing.repeated(testing.ct_series(), 2, TriggerTime=[0.0, 412.5]),
    "chest": lambda: testing.chest_ct(slices=20, rows=64),
}


@pytest.mark.parametrize("images", SERIES.values(), ids=SERIES.keys())
def test_notes_say_the_same_as_made_headers(
    images: Callable[[], list[Dataset]], tmp_path: Path, parsed: Parsing
) -> None:
    assert_same([Part10.of_file(path) for path in testing.write(images(), tmp_path)], parsed)


@st.composite
def pixel_formats(draw: st.DrawFn) -> dict[str, Any]:
    bits = draw(st.sampled_from([8, 16, 32]))
    used = draw(st.integers(1, bits))
    return {
        "BitsAllocated": bits,
        "BitsStored": used,
        "HighBit": draw(st.sampled_from([used - 1, bits - 1])),
        "PixelRepresentation": draw(st.integers(0, 1)),
        "RescaleIntercept": draw(st.sampled_from(["0", "-1024", "-1024.0", "1.5", "40000", "-40000", "-2000"])),
        "RescaleSlope": draw(st.sampled_from(["1", "1.0", "0.5", "2"])),
        "Modality": draw(st.sampled_from(["CT", "MR", "PT"])),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    several=st.lists(pixel_formats(), min_size=1, max_size=2),
    seed=st.integers(0, 99),
    spread=st.sampled_from([40, 3000, 2**31]),
    syntax=st.sampled_from(SYNTAXES[:2]),
)
def test_every_way_of_storing_values_comes_out_as_it_is_defined(
    several: list[dict[str, Any]], seed: int, spread: int, syntax: str, tmp_path: Path, parsed: Parsing
) -> None:
    images = testing.ct_series(slices=6, rows=6, columns=8, transfer_syntax=syntax)
    random = np.random.default_rng(seed)
    for index, image in enumerate(images):
        form = several[0] | {name: several[-1][name] for name in ("RescaleIntercept", "RescaleSlope") if index > 2}
        for keyword, value in form.items():
            setattr(image, keyword, value)
        values = random.integers(-spread, spread, 48).astype(f"<u{form['BitsAllocated'] // 8}", casting="unsafe")
        image.PixelData = values.tobytes()
        image["PixelData"].VR = "OW"
    assert_same([Part10.of_file(path) for path in testing.write(images, tmp_path)], parsed)


@pytest.fixture
def instance(tmp_path: Path) -> Callable[..., HeaderSummary | None]:
    def made(**values: Any) -> HeaderSummary | None:
        (image,) = testing.ct_series(slices=1)
        for keyword, value in values.items():
            setattr(image, keyword, value)
        (path,) = testing.write([image], tmp_path)
        return summarize_file(path.read_bytes())

    return made


def test_an_ordinary_instance_is_summarized(instance: Callable[..., HeaderSummary | None]) -> None:
    note = instance()
    assert note is not None
    assert note.values["Rows"] == 32
    assert note.volume_bytes == 2 * 32 * 32


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("NumberOfFrames", 1), ("InstanceNumber", "01"), ("ConvolutionKernel", "schärfer"), ("KVP", [100, 120])],
)
def test_an_odd_header_is_not_summarized(
    instance: Callable[..., HeaderSummary | None], keyword: str, value: Any
) -> None:
    assert instance(**{keyword: value}) is None


def test_no_word_about_the_patient_is_summarized(tmp_path: Path) -> None:
    (path,) = testing.write(testing.ct_series(slices=1, patient_name="DOE^JANE", patient_id="4711-X"), tmp_path)
    text = received(Part10.of_file(path))
    assert read_summary(text) is not None
    assert "DOE" not in text
    assert "4711" not in text


def test_a_number_that_lacks_a_byte_sets_its_instance_aside(tmp_path: Path) -> None:
    (path,) = testing.write(testing.ct_series(slices=1), tmp_path)
    content = path.read_bytes()
    rows = b"\x28\x00\x10\x00US\x02\x00"
    at = content.index(rows) + len(rows)
    path.write_bytes(content[: at - 2] + b"\x03\x00" + content[at : at + 2] + b"\0" + content[at + 2 :])
    assembled = group_into_stacks([Part10.of_file(path)])
    assert not assembled.series
    assert "cannot be read" in assembled.set_aside[0][1]


def test_a_number_of_a_wrong_length_within_a_sequence_is_not_understood() -> None:
    item = Dataset()
    item[0x00189082] = RawDataElement(BaseTag(0x00189082), "FD", 3, b"abc", 0, False, True)
    with pytest.raises(NotUnderstood, match="Effective Echo Time cannot be read"):
        value_of(item, "EffectiveEchoTime")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1400), byte=st.binary(min_size=1, max_size=4))
@example(at=702, byte=b"\\")  # two Frame of Reference UIDs
@example(at=702, byte=b"\t")
def test_broken_bytes_are_read_as_pydicom_reads_them(at: int, byte: bytes, tmp_path: Path, parsed: Parsing) -> None:
    path = tmp_path / "broken.dcm"
    if not path.exists():
        testing.write(testing.ct_series(slices=1, rows=4, columns=4), tmp_path)[0].rename(path)
    content = path.read_bytes()
    at += 144 + int.from_bytes(content[140:144], "little")  # of the meta information before it, the node is the author
    broken = tmp_path / "changed.dcm"
    broken.write_bytes(content[:at] + byte + content[at + len(byte) :])
    before, after = parsed([Part10.of_file(broken)]), group_into_stacks([Part10.of_file(broken)])
    assert described(after) == described(before)
