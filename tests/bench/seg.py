"""Writing a segmentation: 500×512×512 with 1, 5 and 25 segments, against plain highdicom, dcmqi, and bare packing.

Every method runs in a process of its own, in turn, so that its peak memory is its own; the label map is there before.
`python -m tests.bench seg 25` does it with so many segments only; dcmqi, which takes long, runs once.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from statistics import median

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from node import testing
from node.codes import SCT
from node.compose import Case, Identity, compose, write_object
from node.images.part10 import Part10
from node.images.series import Series, Volume
from node.images.stacks import group_into_stacks
from node.results import Segment, Segmentation

SLICES, ROWS = 500, 512
SEGMENTS = (1, 5, 25)
RUNS = 5
MODULE = "tests.bench.seg"


def main() -> None:
    """Print the table."""
    program = program_of_dcmqi()
    methods = [name for name in METHODS if name != "dcmqi" or program]
    counts = [int(count) for count in sys.argv[2:]] or SEGMENTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        testing.write(testing.ct_series(slices=SLICES, rows=ROWS, columns=ROWS), folder / "images")
        print(f"seg: {SLICES}×{ROWS}×{ROWS}, BINARY, {RUNS} runs each in turn; medians")
        print(f"{'segments':>8}  {'':24}{'seconds':>9}{'ratio':>8}{'MiB more':>10}{'× map':>7}{'MB file':>9}")
        for count in counts:
            np.save(folder / "labels.npy", labels(count))
            measurements: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
            for number in range(RUNS):
                for method in methods:
                    if method != "dcmqi" or not number:
                        measurements[method].append(measured(method, count, folder))
            theirs = median(run["seconds"] for run in measurements["plain highdicom"])
            for method, runs in measurements.items():
                seconds, size = (median(run[key] for run in runs) for key in ("seconds", "size"))
                more = median(run["memory"] for run in runs)
                print(
                    f"{count:8}  {method:24}{seconds:9.2f}{seconds / theirs:8.2f}{more:10.0f}"
                    f"{more * 2**20 / (SLICES * ROWS * ROWS):7.2f}{size / 1e6:9.1f}",
                    flush=True,
                )
    if not program:
        print("dcmqi is not installed: pip install dcmqi")


def program_of_dcmqi() -> str | None:
    """Return where the wheel has put dcmqi's writer, None where it is not installed."""
    with suppress(PackageNotFoundError):
        return next(str(file.locate()) for file in files("dcmqi") or () if file.name == "itkimage2segimage")
    return None


def labels(count: int) -> NDArray[np.uint8]:
    """Return balls that are in as many slices as organs are, one in each label."""
    random = np.random.default_rng(count)
    array = np.zeros((SLICES, ROWS, ROWS), np.uint8)
    row, column = np.ogrid[:ROWS, :ROWS]
    for label in range(1, count + 1):
        position, *centre = random.uniform((100, 100, 100), (SLICES - 100, ROWS - 100, ROWS - 100))
        for index in range(max(0, int(position) - 90), min(SLICES, int(position) + 90)):
            radius = max(60 * (1 - ((index - position) / 90) ** 2), 0) ** 0.5 * 7.75
            array[index][(row - centre[0]) ** 2 + (column - centre[1]) ** 2 < radius**2] = label
    return array


def measured(method: str, count: int, folder: Path) -> dict[str, float]:
    """Run one method once in a process of its own, and return its seconds, MiB beyond the label map, and bytes."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE, method, str(count), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_method(method: str, count: int, folder: Path) -> None:
    """Do it, in the child."""
    series = next(
        iter(group_into_stacks(Part10.of_file(path) for path in sorted((folder / "images").iterdir())).series)
    )
    array = np.load(folder / "labels.npy")
    METHODS[method](series, testing_labels(array[:8]), count, folder)  # the first call reads tables and loads code
    forget_peak()
    before = memory("VmRSS")
    begun = time.perf_counter()
    path = METHODS[method](series, array, count, folder)
    seconds = time.perf_counter() - begun
    more = child_peak() if method == "dcmqi" else memory("VmHWM") - before
    print(json.dumps({"seconds": seconds, "memory": more, "size": path.stat().st_size if path else 0}))


def testing_labels(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a small label map with one pixel."""
    first = np.zeros_like(array)
    first[0, 0, 0] = 1
    return first


def forget_peak() -> None:
    """Let the highest memory so far be forgotten (proc(5): clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str) -> float:
    """Return what /proc tells of this process, in MiB; the rusage of a child begins with its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) / 1024


def child_peak() -> float:
    """Return the most memory that a child has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def segments(count: int) -> list[Segment]:
    """Return so many segments."""
    return [Segment(label=f"Organ {number}", type=SCT.Organ, category=SCT.Organ) for number in range(1, count + 1)]


def by_isocenter(series: Series, array: NDArray[np.uint8], count: int, folder: Path) -> Path:
    """Compose and write as the node does."""
    first = Series(key=series.key, frames=series.frames[: len(array)], read=series.read)
    volume = Volume(array=array, affine=first.affine(), frame_of_reference_uid=first.frame_of_reference_uid)
    result = Segmentation(labels=volume, segments=segments(count))
    (made,) = compose(Case(inputs={"ct": first}, results=[result], identity=identity(series)), kinds=("SEG",))
    write_object(made, folder / "ours.dcm")
    return folder / "ours.dcm"


def plain(series: Series, array: NDArray[np.uint8], count: int, folder: Path) -> Path:
    """Compose and write with highdicom alone, given the same headers."""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=segment.category,
            segmented_property_type=segment.type,
            algorithm_type="AUTOMATIC",
            algorithm_identification=hd.AlgorithmIdentificationSequence(
                name="bench", family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"), version="1"
            ),
        )
        for number, segment in enumerate(segments(count), 1)
    ]
    made = hd.seg.Segmentation(
        source_images=list(series.headers[: len(array)]),
        pixel_array=array,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="bench",
        manufacturer_model_name="bench",
        software_versions="1",
        device_serial_number="1",
    )
    made.save_as(folder / "plain.dcm")
    return folder / "plain.dcm"


def packed(_: Series, array: NDArray[np.uint8], count: int, folder: Path) -> Path:
    """Pack each label's bits with numpy, and nothing else."""
    for number in range(1, count + 1):
        np.packbits(array == number, bitorder="little")
    return folder / "labels.npy"


def dcmqi(series: Series, array: NDArray[np.uint8], count: int, folder: Path) -> Path:
    """Have dcmqi write it, from a file that it reads: NRRD, its own format."""
    program = program_of_dcmqi()
    assert program is not None
    affine = series.affine()
    directions = " ".join(f"({','.join(f'{part:.6f}' for part in affine[:3, axis])})" for axis in (2, 1, 0))
    header = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {array.shape[2]} {array.shape[1]} {array.shape[0]}\nspace directions: {directions}\n"
        f"kinds: domain domain domain\nencoding: raw\nspace origin: ({','.join(f'{v:.6f}' for v in affine[:3, 3])})\n\n"
    )
    (folder / "labels.nrrd").write_bytes(header.encode() + array.tobytes())
    code = {"CodeValue": "113343008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Organ"}
    attributes = [
        {
            "labelID": number,
            "SegmentDescription": f"Organ {number}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "bench",
            "SegmentedPropertyCategoryCodeSequence": code,
            "SegmentedPropertyTypeCodeSequence": code,
        }
        for number in range(1, count + 1)
        if (array == number).any()
    ]
    about = {
        "ContentCreatorName": "bench",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "segmentAttributes": [attributes],
    }
    (folder / "about.json").write_text(json.dumps(about))
    command = [program, "--inputImageList", "labels.nrrd", "--inputDICOMDirectory", "images"]
    command += ["--outputDICOM", "dcmqi.dcm", "--inputMetadata", "about.json"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return folder / "dcmqi.dcm"


def identity(series: Series) -> Identity:
    """Return who made it."""
    return Identity(
        study_uid=series.study_uid,
        revision=1,
        plugin="bench",
        version="1",
        title="Bench",
        manufacturer="",
        models=(),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        first_series_number=3000,
        device_uid="2.25.1",
    )


METHODS: dict[str, Callable[[Series, NDArray[np.uint8], int, Path], Path]] = {
    "isocenter": by_isocenter,
    "plain highdicom": plain,
    "numpy packbits, bare": packed,
    "dcmqi": dcmqi,
}

if __name__ == "__main__":
    run_method(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
