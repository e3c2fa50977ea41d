"""Real programs take what the node composes: dcmtk reads and renders it, Orthanc stores it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from node.compose.source_images import functional_groups
from node.images.series import Series
from tests.matrix import IMAGES, MATRIX, Matrix
from tests.peers import SYSTEM_PATH, missing, orthanc, storescu

GREY = tuple(name for name in IMAGES if name not in ("US cine", "OP colour", "SM tiled"))
"""Images in grey: dcmp2pgm of dcmtk 3.6.7 knows no Color Softcopy Presentation State."""
UNSUPPORTED_BY_DSRDUMP = (
    "VR checker does not support",
    "template constraints not yet supported",
    "unsupported SpecificCharacterSet",
)
"""Of dcmtk 3.6.7: ISO_IR 192, the template of reports with coordinates, and code extensions."""


@pytest.mark.skipif(bool(missing("dsrdump")), reason=missing("dsrdump"))
def test_dsrdump_reads_every_report(matrix: Matrix) -> None:
    for _, folder in matrix.values():
        reports = [path for kind in ("SR", "KO", "MGCAD") for path in (folder / "made").glob(f"{kind}*.dcm")]
        assert reports
        for path in reports:
            said = _run("dsrdump", "+Pl", str(path))
            assert said.returncode == 0, said.stderr
            assert "Research use" in said.stdout
            complaints = [line for line in said.stderr.splitlines() if line.startswith(("E:", "W:"))]
            assert not [line for line in complaints if not any(words in line for words in UNSUPPORTED_BY_DSRDUMP)]


@pytest.mark.skipif(bool(missing("dcm2pnm")), reason=missing("dcm2pnm"))
def test_dcmtk_renders_every_secondary_capture_unchanged(matrix: Matrix) -> None:
    for made, folder in matrix.values():
        for path in (folder / "made").glob("SC*.dcm"):
            shown = folder / "shown.ppm"
            said = _run("dcm2pnm", str(path), str(shown))
            assert said.returncode == 0, said.stderr
            with Image.open(shown) as image:
                assert np.array_equal(np.asarray(image), dcmread(path).pixel_array)
        assert made.objects["SC"]


@pytest.mark.skipif(bool(missing("dcmp2pgm")), reason=missing("dcmp2pgm"))
@pytest.mark.parametrize("name", GREY)
def test_dcmtk_shows_each_image_through_its_presentation_state_as_before(matrix: Matrix, name: str) -> None:
    made, folder = matrix[name]
    images = {str(dcmread(path).SOPInstanceUID): path for path in (folder / "images").glob("*.dcm")}
    places = {(frame.sop_instance_uid, frame.number): at for at, frame in enumerate(made.series.frames)}
    shown = folder / "shown.pgm"
    for number, state in enumerate(made.objects["GSPS"]):
        for reference in state.ReferencedSeriesSequence[0].ReferencedImageSequence:
            uid, frames = reference.ReferencedSOPInstanceUID, np.atleast_1d(reference.get("ReferencedFrameNumber", 1))
            for frame in map(int, frames):
                words = ("-f", str(frame), "-p", str(folder / "made" / f"GSPS{number}.dcm"), str(images[uid]))
                said = _run("dcmp2pgm", *words, str(shown))
                assert said.returncode == 0, said.stdout + said.stderr
                with Image.open(shown) as image:
                    seen = np.asarray(image.convert("L"), np.float64)
                assert np.abs(seen - _windowed(made.series, places[uid, frame])).max() <= 2


@pytest.mark.skipif(bool(missing("Orthanc", "storescu")), reason=missing("Orthanc", "storescu"))
def test_orthanc_stores_every_kind(matrix: Matrix, tmp_path: Path) -> None:
    made = [path for _, folder in matrix.values() for path in sorted((folder / "made").glob("*.dcm"))]
    paths = [path for path in made if not path.name.startswith("LABELMAP")]  # dcmtk 3.6.7 does not know the SOP class
    sent = {str(dataset.SOPInstanceUID): dataset for dataset in map(dcmread, paths)}
    assert {path.name.rstrip("0123456789.dcm") for path in paths} == set(MATRIX) - {"LABELMAP"}
    with orthanc(tmp_path) as pacs:
        said = storescu(pacs.dicom_port, paths, called="ORTHANC")
        assert said.returncode == 0, said.stdout + said.stderr
        stored = {str(dataset.SOPInstanceUID): dataset for dataset in pacs.objects()}
    assert set(stored) == set(sent)
    for uid, dataset in stored.items():
        assert dataset == sent[uid], dataset.SOPClassUID.name


def _windowed(series: Series, index: int) -> NDArray[np.float64]:
    """Return an image as its own window and polarity show it, 0 to 255 (PS3.3 C.11.2.1.2.1)."""
    frame = series.frames[index]
    header = frame.header
    (voi,) = [*functional_groups(header, frame.number - 1, "FrameVOILUTSequence"), header][:1]
    center, width = float(voi.WindowCenter), float(voi.WindowWidth)
    shown = np.clip((series.image(index) - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    return 255 - shown if header.PhotometricInterpretation == "MONOCHROME1" else shown


def _run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program, path=SYSTEM_PATH) or program
    return subprocess.run([found, *words], capture_output=True, text=True, check=False, timeout=60)
