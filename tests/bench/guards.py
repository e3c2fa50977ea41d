"""How often guards of pictures accept what is right and what is wrong, on real pictures never seen in making them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer.guards import LONGEST_SIDE, planes_for, reduced
from node.training import pictures
from node.training.pictures import Picture, Pictures
from tests.peers import DICOM, SHARED
from tests.serving import method

OPEN2D = SHARED / "data" / "open2d"
Verdict = tuple[bool, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is right for a guard: a class of pictures, what makes them wrong, and DICOM files that are right."""

    guard: str
    right: str
    wrong: tuple[str, ...] = ()
    dicom: tuple[str, ...] = ()


CHESTS = "CR/chest_RG1_j2k", "CR/chest_rsna/1.2"  # without the chest that its header inverts
UPRIGHT = ("inverted", "upside down", "turned left", "turned right", "inverted, upside down")
BENCHES = (
    Bench(guard="chest_radiograph", right="chest_frontal", wrong=tuple(pictures.WRONG), dicom=CHESTS),
    Bench(guard="chest_or_negative", right="chest_frontal", dicom=("CR/chest_",)),
    Bench(guard="fundus", right="fundus", wrong=("inverted", "upper half", "lower half", "left half", "right half")),
    Bench(guard="skin", right="skin_lesion", wrong=("inverted",)),
    Bench(guard="stained_tissue", right="histology_he", wrong=("inverted",)),
    Bench(guard="mammogram", right="mammogram", wrong=("inverted", "turned left", "turned right")),
    Bench(guard="ultrasound", right="ultrasound_breast", wrong=UPRIGHT),
)


def verdict(guard: str, picture: Picture, spacing: tuple[float, float] = (0, 0)) -> Verdict:
    """Ask a guard about a picture as the node does."""
    small = reduced(picture.astype(np.float32), -(-max(picture.shape[:2]) // LONGEST_SIDE)).round().astype(np.uint8)
    return asked(guard, {"images": small[None], "spacing": np.array(spacing, np.float32)})


def asked(guard: str, given: dict[str, np.ndarray]) -> Verdict:
    """Ask a guard about images in the form of the contract, without Triton."""
    judge = method(f"guard_{guard}", guard).judge
    answer = judge(
        header="{}", **{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
    )
    return bool(answer["suitable"][0]), float(answer["score"][0]), str(answer["reason"])


def wilson(hits: int, count: int) -> str:
    """Return a proportion in % with its 95 % interval (Wilson 1927)."""
    z, p = 1.96, hits / count
    middle, spread = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5
    low, high = ((middle + sign * spread) / (1 + z * z / count) for sign in (-1, 1))
    return f"{100 * p:.0f} % ({100 * low:.0f}–{100 * high:.0f} %)"


def burned_in() -> Picture:
    """Return a page of text, as a dose sheet or a screen shot is."""
    page = Image.new("L", (400, 500))
    draw = ImageDraw.Draw(page)
    for row in range(20, 480, 24):
        draw.text((20, row), f"Series {row}   CTDIvol 12.3 mGy   DLP 456 mGy cm", fill=255, font_size=15)
    return np.array(page)[..., None]


def wrong_ones(bench: Bench, there: Pictures) -> Iterator[tuple[str, Picture]]:
    """Yield wrong pictures with what they are: other classes, changed right ones, empty ones, text."""
    for kind in there.classes:
        if kind != bench.right:
            yield from ((kind, pictures.read(path)) for path in there.files(kind, making=False))
    for path in there.files(bench.right, making=False):
        picture = pictures.read(path)
        yield from ((name, pictures.WRONG[name](picture)) for name in bench.wrong)
    yield from pictures.empty(np.random.default_rng(2)).items()
    yield "burned-in text", burned_in()


def measure(bench: Bench, there: Pictures) -> None:
    """Print sensitivity and specificity of a guard, and every mistake."""
    print(f"\nguard_{bench.guard}")
    right = {path: verdict(bench.guard, pictures.read(path)) for path in there.files(bench.right, making=False)}
    hits = sum(accepted for accepted, _, _ in right.values())
    print(f"  accepts {hits} of {len(right)} right: sensitivity {wilson(hits, len(right))}")
    for path, (accepted, score, reason) in right.items():
        if not accepted:
            print(f"    refused: {path.name} {score:.2f} {reason}")
    verdicts_of: dict[str, list[Verdict]] = {}
    for name, picture in wrong_ones(bench, there):
        verdicts_of.setdefault(name, []).append(verdict(bench.guard, picture))
    every = [verdict for verdicts in verdicts_of.values() for verdict in verdicts]
    refused, count = sum(not accepted for accepted, _, _ in every), len(every)
    print(f"  refuses {refused} of {count} wrong: specificity {wilson(refused, count)}")
    for name, verdicts in verdicts_of.items():
        worst = max(score for _, score, _ in verdicts)
        refused = sum(not accepted for accepted, _, _ in verdicts)
        print(f"    {name}: {refused} of {len(verdicts)}, highest score {worst:.2f}")


def real(bench: Bench) -> None:
    """Print how a guard judges every DICOM file without a position in the patient."""
    for path in sorted(DICOM.rglob("*.dcm")):
        name = path.relative_to(DICOM).as_posix()
        if name.split("/")[0] in ("CR", "DX", "MG", "US", "OP", "SM", "NM"):
            for series in group_into_stacks([Part10.of_file(path)]).series:
                if not series.placed:
                    accepted, score, reason = asked(bench.guard, planes_for(series))
                    mark = "" if accepted == name.startswith(bench.dicom or ("-",)) else "WRONG "
                    print(f"    {mark}{name}: {'accepted' if accepted else 'refused'} {score:.2f} {reason}")


def main() -> None:
    """Judge all guards; the pictures are not part of isocenter."""
    if not OPEN2D.is_dir():
        print(f"guards: {OPEN2D} is not here")
        return
    torch.set_num_threads(1)
    for bench in BENCHES:
        measure(bench, Pictures(OPEN2D))
        real(bench)
