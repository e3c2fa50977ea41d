"""What is decoded on arrival is what a job would have decoded; and where it is missing or damaged, the job decodes."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from node import testing
from node.assemble import decode, decode_due
from node.errors import JobDied, UnsuitableSeries
from node.images import pixels
from node.images.decoded import claim, sizes
from node.images.header_summary import summarize_file
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.images.stored_instance import StoredInstance
from node.ledger import Ledger
from node.records import Plan
from node.spool import Spool
from tests.received import receive

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

DATA = Path(__file__).parents[3] / "shared" / "data" / "dicom"
STUDY = str(testing.ct_series(slices=1)[0].StudyInstanceUID)
LIMIT = 1 << 20
SLICE = 32 * 32 * 2


@pytest.fixture(autouse=True)
def nice(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how much the decoder has stepped back, which is this process here."""
    niceness: list[int] = []
    monkeypatch.setattr(os, "nice", niceness.append)
    return niceness


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The instances that have been decoded from now on."""
    decoded, seen = pixels._decoded, []

    def counting(stored: StoredInstance, number: int) -> NDArray[np.generic]:
        seen.append(str(stored.values["SOPInstanceUID"]))
        return decoded(stored, number)

    monkeypatch.setattr(pixels, "_decoded", counting)
    return seen


def compressed(slices: int = 4, syntax: str = JPEG2000Lossless, **wanted: object) -> list[Dataset]:
    return testing.ct_series(slices=slices, transfer_syntax=syntax, **wanted)  # type: ignore[arg-type]


def parts(spool: Spool, ledger: Ledger) -> list[Part10]:
    return [spool.part10(place, row.note) for row, place in ledger.instances.of(STUDY)]


def volume(spool: Spool, ledger: Ledger) -> NDArray[np.generic]:
    (series,) = group_into_stacks(parts(spool, ledger)).series
    return series.volume().array


def everything(_: Series) -> bool:
    return True


def look(spool: Spool, ledger: Ledger, *, wants: Callable[[Series], bool] = everything, limit: int = LIMIT) -> None:
    """Decode all that is due, in this process."""
    while decode_due(ledger.instances, spool, wants, decode, limit=limit) is not None:
        pass


def files(spool: Spool) -> list[Path]:
    return sorted(path for path in spool.decoded.rglob("*") if path.is_file())


def image_or_fault(series: Series) -> NDArray[np.generic] | str:
    try:
        return series.image()
    except UnsuitableSeries as error:
        return str(error)


def all_real() -> Iterator[Part10]:
    """The real images that would be decoded on arrival, as if each lay in a pack of its own."""
    for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
        note = summarize_file(path.read_bytes())
        if note and note.syntax not in pixels.NATIVE and pixels.early_bytes(note.values):
            yield Part10.of_file(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real DICOM files are not beside this repository")
def test_real_images_have_the_same_values(tmp_path: Path, frames: list[str]) -> None:
    (tmp_path / "decoded").mkdir()
    seen, kept = set(), 0
    for number, part in enumerate(all_real()):
        early = replace(part, decoded=tmp_path / "decoded" / str(number))
        stored = StoredInstance.read(part)
        seen.add((stored.syntax, stored.values["BitsAllocated"], stored.values["PixelRepresentation"]))
        assert claim(early, pixels.early_bytes(stored.values))
        decode([early])
        (series,) = group_into_stacks([part]).series
        (again,) = group_into_stacks([early]).series
        expected = image_or_fault(series)
        before = len(frames)
        values = image_or_fault(again)
        kept += len(frames) == before
        if isinstance(expected, str) or isinstance(values, str):
            assert values == expected
            continue
        assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(values, expected), part.path
    assert kept > 10
    assert {bits for _, bits, _ in seen} >= {8, 16}
    assert {signed for *_, signed in seen} == {0, 1}
    assert len({syntax for syntax, *_ in seen}) >= 5


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_job_decodes_nothing_that_was_decoded_on_arrival(
    spool: Spool, ledger: Ledger, frames: list[str], nice: list[int], syntax: str
) -> None:
    receive(spool, ledger, compressed(20, syntax))
    expected = volume(spool, ledger)
    frames.clear()
    look(spool, ledger)
    assert (len(frames), nice) == (20, [19, 19])  # in two batches
    assert np.array_equal(volume(spool, ledger), expected)
    assert len(frames) == 20


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def of_another(path: Path) -> None:
    others = [other for other in path.parent.iterdir() if other != path]
    path.write_bytes(others[0].read_bytes())


@pytest.mark.parametrize("damage", [Path.unlink, cut, changed, of_another])
def test_a_missing_or_damaged_decoded_image_is_decoded_by_the_job(
    spool: Spool, ledger: Ledger, frames: list[str], damage: Callable[[Path], None]
) -> None:
    receive(spool, ledger, compressed())
    expected = volume(spool, ledger)
    look(spool, ledger)
    damage(files(spool)[2])
    frames.clear()
    assert np.array_equal(volume(spool, ledger), expected)
    assert len(frames) == 1


def test_values_beyond_bits_stored_are_left_to_the_job(spool: Spool, ledger: Ledger, frames: list[str]) -> None:
    images = compressed()
    for image in images:
        image.BitsStored, image.HighBit = 8, 7
    receive(spool, ledger, images)
    expected = volume(spool, ledger)
    look(spool, ledger)
    frames.clear()
    assert np.array_equal(volume(spool, ledger), expected)
    assert len(frames) == 4


def test_an_image_that_cannot_be_decoded_is_left_to_the_job_which_says_why(spool: Spool, ledger: Ledger) -> None:
    images = compressed()
    images[1].PixelData = images[1].PixelData[:40] + bytes(len(images[1].PixelData) - 40)
    receive(spool, ledger, images)
    with pytest.raises(UnsuitableSeries) as before:
        volume(spool, ledger)
    look(spool, ledger)
    assert sorted(path.stat().st_size for path in files(spool)) == [0, *[SLICE + 4] * 3]
    with pytest.raises(UnsuitableSeries, match=str(images[1].SOPInstanceUID)) as after:
        volume(spool, ledger)
    assert str(after.value).partition(" at 0x")[0] == str(before.value).partition(" at 0x")[0]


def test_only_compressed_images_of_a_wanted_series_are_decoded(spool: Spool, ledger: Ledger) -> None:
    wanted = compressed(2, series="1")
    receive(spool, ledger, [*wanted, *compressed(3, series="2"), *compressed(4, ExplicitVRLittleEndian, series="3")])
    look(spool, ledger, wants=lambda series: series.series_uid == wanted[0].SeriesInstanceUID)
    assert len(files(spool)) == 2
    look(spool, ledger)
    assert len(files(spool)) == 5


def test_all_values_together_stay_within_the_limit(spool: Spool, ledger: Ledger) -> None:
    receive(spool, ledger, compressed(8))
    look(spool, ledger, limit=3 * (SLICE + 4) + 100)
    assert len(files(spool)) == 3
    look(spool, ledger)
    assert len(files(spool)) == 8


def test_they_give_way_as_the_disk_fills(spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "room", 10 * SLICE)
    receive(spool, ledger, compressed(8))
    look(spool, ledger)
    there = sum(path.stat().st_size for path in files(spool))
    assert SLICE < there < 10 * SLICE
    monkeypatch.setattr(Spool, "room", there - 1)
    look(spool, ledger)
    assert files(spool) == []
    monkeypatch.setattr(Spool, "room", -1)
    look(spool, ledger)
    assert files(spool) == []


def test_images_at_which_a_decoder_died_are_not_tried_again(spool: Spool, ledger: Ledger, frames: list[str]) -> None:
    def dies(asked: Sequence[Part10]) -> None:
        decode(asked[:1])
        raise JobDied("it died of SIGSEGV")

    receive(spool, ledger, compressed())
    expected = volume(spool, ledger)
    assert decode_due(ledger.instances, spool, everything, dies, limit=LIMIT) == 0
    assert decode_due(ledger.instances, spool, everything, dies, limit=LIMIT) is None
    frames.clear()
    assert np.array_equal(volume(spool, ledger), expected)
    assert len(frames) == 3


def test_values_stay_until_no_job_of_their_study_waits_or_runs(
    spool: Spool, ledger: Ledger, wanted: Callable[..., Plan]
) -> None:
    receive(spool, ledger, compressed())
    look(spool, ledger)
    seen = ledger.studies.find(STUDY)
    assert seen is not None
    assert ledger.studies.settle(seen, "settled by the test")
    look(spool, ledger)
    ledger.studies.plan(seen, [], [wanted()])
    look(spool, ledger)
    running = ledger.jobs.claim(lease_seconds=60)
    assert running is not None
    look(spool, ledger)
    assert len(files(spool)) == 4
    ledger.jobs.finish(running, [])
    look(spool, ledger)
    assert sizes(spool.decoded) == {}


def test_two_decoders_never_decode_the_same_image(spool: Spool, ledger: Ledger) -> None:
    receive(spool, ledger, compressed())
    first, second = ([claim(part, 10) for part in parts(spool, ledger)] for _ in range(2))
    assert (first, second) == ([True] * 4, [False] * 4)
