"""How often guards of volumes accept what is right and refuse what is wrong, on real volumes and on changed ones.

All of these volumes were looked at while the limits of the guards were set: none is held out.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from numpy.typing import NDArray

from node.errors import NodeError
from node.images.part10 import Part10
from node.images.series import Series
from node.images.stacks import group_into_stacks
from node.infer.guards import LONGEST_AXIS, reduced, volume_for
from tests.bench.guards import wilson
from tests.peers import DICOM, SHARED
from tests.serving import method

OPEN3D = SHARED / "data" / "open3d"
Array = NDArray[np.float32]
FEWEST_SLICES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A volume as a guard gets it: float32 (slice, row, column), and its affine to mm LPS."""

    name: str
    volume: Array
    affine: NDArray[np.float64]


RIGHT: Mapping[str, tuple[str, ...]] = {
    "patient_ct": ("CT_", "_CT", "CT/chest_cmb"),
    "chest_ct": ("CT_LIDC", "CT/chest_cmb"),
    "liver_ct": ("CT_CRLM",),
    "head_ct": (),
    "head_mr": ("head/MR_", "MR/T1_"),
    "head_mr_t1": ("head/MR_T1", "MR/T1_"),
}
"""Guard → how the names of what it must accept begin, or what stands in them."""


ECHOES = {"FLAIR": 120, "T2": 100}
"""Echo time in ms by what stands in the name of an MR; that of the others is `SHORT_ECHO`."""
SHORT_ECHO = 3


def header_of(case: Case) -> str:
    """Return the header that a guard gets with a volume: NIfTI has no echo time, so it is set by the name."""
    return json.dumps({"EchoTime": str(next((ms for word, ms in ECHOES.items() if word in case.name), SHORT_ECHO))})


def asked(guard: str, case: Case, header: str = "") -> tuple[bool, str]:
    """Ask a guard about a volume in the form of the contract, without Triton."""
    judge = method(f"guard_{guard}", guard).judge
    given = (torch.from_numpy(np.ascontiguousarray(array)) for array in (case.volume, case.affine))
    answer = judge(*given, header or header_of(case))
    return bool(answer["suitable"][0]), str(answer["reason"])


def axes_of(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Return which axes of an array run most along x, y and z of the patient."""
    along = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return int(along[0].argmax()), int(along[1].argmax()), int(along[2].argmax())


def half(array: Array, axis: int, *, upper: bool) -> Array:
    """Return one half of an array."""
    middle = array.shape[axis] // 2
    return np.take(array, range(middle, array.shape[axis]) if upper else range(middle), axis)


def noise(array: Array) -> Array:
    """Return noise with the mean and deviation of an array."""
    return np.random.default_rng(0).normal(array.mean(), array.std(), array.shape).astype(np.float32)


CHANGES: Mapping[str, Callable[[Array, tuple[int, int, int]], Array]] = {
    "upside down": lambda array, xyz: np.flip(array, xyz[2]),
    "front to back": lambda array, xyz: np.flip(array, xyz[1]),
    "mirrored": lambda array, xyz: np.flip(array, xyz[0]),
    "inverted": lambda array, _: array.min() + array.max() - array,
    "blank": lambda array, _: np.zeros_like(array),
    "uniform": lambda array, _: np.full_like(array, 40),
    "noise": lambda array, _: noise(array),
    "shuffled": lambda array, _: np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape),
    "lower half": lambda array, xyz: half(array, xyz[2], upper=False),
    "upper half": lambda array, xyz: half(array, xyz[2], upper=True),
    "front half": lambda array, xyz: half(array, xyz[1], upper=False),
    "back half": lambda array, xyz: half(array, xyz[1], upper=True),
    "right half": lambda array, xyz: half(array, xyz[0], upper=False),
    "left half": lambda array, xyz: half(array, xyz[0], upper=True),
    "turned about z": lambda array, xyz: np.swapaxes(array, xyz[0], xyz[1]),
    "turned about x": lambda array, xyz: np.swapaxes(array, xyz[2], xyz[1]),
    "less 1024": lambda array, _: array - 1024,
}
"""What makes a right volume wrong."""
CANNOT_TELL: Mapping[str, frozenset[str]] = {
    "patient_ct": frozenset(name for name in CHANGES if "half" in name or "turned" in name)
    | {"upside down", "front to back", "mirrored"},
    "head_mr": frozenset({"front to back", "mirrored"}),
    "head_mr_t1": frozenset({"front to back", "mirrored"}),
    "head_ct": frozenset({"front to back", "mirrored"}),
}
"""Guard → changes that it does not notice, or need not: a part of a body is a body."""


def changed(case: Case, change: str) -> Case:
    """Return a volume with a change; its affine stays."""
    return replace(case, name=f"{case.name}, {change}", volume=CHANGES[change](case.volume, axes_of(case.affine)))


def quality_phantom(kind: str) -> Case:
    """Return a phantom of quality control: a cylinder of one material or of water, with a shell, or with inserts."""
    side = np.arange(-64, 64) * 2.5
    y, x = np.meshgrid(side, side, indexing="ij")
    plane = np.where(np.hypot(x, y) < 100, 0.0 if kind == "water" else 40.0, -1000.0)
    if kind == "shell":
        plane[np.abs(np.hypot(x, y) - 99) < 4] = 120
    for number, value in enumerate((955, -95, 120, -1000) if kind == "inserts" else ()):
        plane[np.hypot(x - (45 - 90 * (number % 2)), y - (45 - 90 * (number // 2))) < 12.5] = value
    values = plane + np.random.default_rng(1).normal(0, 8, (60, *plane.shape))
    affine = np.array([[0, 0, 2.5, -160], [0, 2.5, 0, -160], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    return Case(name=f"phantom: {kind}", volume=values.astype(np.float32), affine=affine)


QUALITY = ("cylinder", "water", "shell", "inserts")


def real() -> Iterator[Case]:
    """Yield all real volumes that are here."""
    for path in sorted(OPEN3D.rglob("*.nii.gz")):
        if not any(word in path.name for word in ("label", "PET")):
            yield nifti(path)
    for folder in sorted({path.parent for kind in ("CT", "MR") for path in (DICOM / kind).rglob("*.dcm")}):
        for series in stacks(folder):
            if len(series.frames) >= FEWEST_SLICES:
                yield Case(name=folder.relative_to(DICOM).as_posix(), **volume_for(series))


def nifti(path: Path) -> Case:
    """Read a NIfTI file as a guard gets it."""
    image = SimpleITK.ReadImage(str(path))
    direction = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction[:, ::-1], image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    every, factor = (-(-count // LONGEST_AXIS) for count in (len(array), max(array.shape[1:])))
    coarse = np.stack([reduced(plane, factor) for plane in array[::every]])
    affine[:3, 3] += affine[:3, 1:3].sum(1) * (factor - 1) / 2
    affine[:3, :3] *= (every, factor, factor)
    return Case(name=path.relative_to(OPEN3D).as_posix().removesuffix(".nii.gz"), volume=coarse, affine=affine)


def stacks(folder: Path) -> Iterator[Series]:
    """Yield the stacks of a folder that are volumes."""
    for series in group_into_stacks(map(Part10.of_file, sorted(folder.glob("*.dcm")))).series:
        try:
            series.volume()
        except NodeError:
            continue
        yield series


def measure(guard: str, cases: list[Case]) -> None:
    """Print how a guard judges."""
    right = [case for case in cases if any(part in case.name for part in RIGHT[guard])]
    print(f"\nguard_{guard}")
    if right:
        hits = sum(asked(guard, case)[0] for case in right)
        print(f"  accepts {hits} of {len(right)} right: {wilson(hits, len(right))}")
    wrong = [case for case in cases if case not in right] + [quality_phantom(kind) for kind in QUALITY]
    missed = [case.name for case in wrong if asked(guard, case)[0]]
    print(
        f"  refuses {len(wrong) - len(missed)} of {len(wrong)} others: {wilson(len(wrong) - len(missed), len(wrong))}"
    )
    changes = [name for name in CHANGES if name not in CANNOT_TELL.get(guard, ())]
    turned = [changed(case, change) for case in right for change in changes]
    missed_changes = [case.name for case in turned if asked(guard, case)[0]]
    if turned:
        refused = len(turned) - len(missed_changes)
        print(f"  refuses {refused} of {len(turned)} changed ones: {wilson(refused, len(turned))}")
    for name in (*missed, *missed_changes):
        print(f"    accepted: {name}")


def main() -> None:
    """Judge all guards of volumes; the volumes are not part of isocenter."""
    if not OPEN3D.is_dir():
        print(f"guards of volumes: {OPEN3D} is not here")
        return
    torch.set_num_threads(1)
    cases = list(real())
    for guard in RIGHT:
        measure(guard, cases)
