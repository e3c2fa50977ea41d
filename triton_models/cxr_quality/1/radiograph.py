"""Whether a radiograph shows a chest from the front, and how well it was made; no trained weights.

The view is known by the correlation with a template (Lehmann et al., J Digit Imaging 2003;16:280): two dark ovals side
by side in something brighter, at every place and size. Grey values are replaced by their ranks first, so that no
look-up table matters, and a picture whose grey scale is inverted correlates as strongly, with the other sign.
"""

from dataclasses import dataclass
from functools import cache

import torch
from serving.components import components
from serving.grey_values import otsu, reduced
from torch import Tensor
from torch.nn import functional

TEMPLATE_SIDE = 64  # pixels of the longer side while a template is sought: ribs and vessels are blurred away
WIDTHS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of both lungs together, as parts of the image's width
SHAPES = (0.75, 0.9, 1.05, 1.2)  # height of the lungs as parts of their width together
MARGIN = 0.12  # of the image's longer side that a template may reach beyond it
LUNG_SIDE = 256  # pixels of the longer side while lungs are outlined
FEWEST_ROWS = 8  # there: of lungs that are less high nothing is measured
MARKER_SIDE = 1024  # and while letters are sought
STROKE = 15  # pixels there: no stroke of a letter is wider
MARKER_HEIGHTS = (22, 80)  # of a letter, in pixels there: names and times beside it are smaller
BRIGHTER = 0.2  # of the range of grey values, by which lead is brighter than what lies around it
GLYPH = 20  # pixels along the side of the box in which letters are compared
SLANTS = (-0.3, -0.15, 0.0, 0.15, 0.3)
LIKENESS, LEAD = 0.75, 0.05  # correlation of a letter with its glyph, and by how much it leads over any other
LETTERS = (
    ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    ("####.", "#...#", "#...#", "####.", "#...#", "#...#", "#...#"),
    (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
    ("####.", "#...#", "#...#", "####.", "#....", "#....", "#...."),
    ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
)  # L, R, O, H, S, P, D
HOLES = (0, 1, 1, 0, 0, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """Where the template fits best: correlation -1 to 1, and the box of both lungs in parts of rows and columns."""

    correlation: float
    top: float
    left: float
    bottom: float
    right: float


def assess(image: Tensor) -> dict[str, Tensor]:
    """Look at one radiograph.

    image: float32 (row, column), brightness as it is shown, of any range.

    Returns
    -------
    chest: float32 (5): correlation with a frontal chest, negative where the grey scale is inverted; top, left, bottom
    and right edge of both lungs, in pixels.
    lungs: uint8 (row, column): 1 the lung on the left of the image, 2 that on the right.
    measures: float32 (4): how far the middle of the mediastinum lies off that of the lungs, in parts of their width,
    positive towards the right of the image; part of the outline of the lungs that lies on the edge of the image; parts
    of the chest's pixels that have the lowest and the highest value there is.
    markers: float32 (marker, 6): 0 for an L, 1 for an R, likeness 0 to 1, and top, left, bottom and right in pixels.

    Raises
    ------
    ValueError
        The image has other axes, or fewer than 64 pixels along one.
    """
    if image.ndim != 2 or min(image.shape) < TEMPLATE_SIDE:
        raise ValueError(f"the image has two axes of at least {TEMPLATE_SIDE} pixels, not {tuple(image.shape)}")
    image = image.float()
    chest = find_chest(image)
    shown = image if chest.correlation >= 0 else -image
    lungs = outline_lungs(shown, chest)
    rows, columns = image.shape
    scale = torch.tensor([1, rows, columns, rows, columns])
    found = torch.tensor([chest.correlation, chest.top, chest.left, chest.bottom, chest.right]) * scale
    low, high = clipped(image, chest)
    measures = torch.tensor([asymmetry(lungs), cut_off(lungs), low, high])
    full = functional.interpolate(lungs[None, None].float(), size=(rows, columns))[0, 0].to(torch.uint8)
    return {"chest": found, "lungs": full, "measures": measures, "markers": letters(shown)}


def ranked(image: Tensor, side: int) -> Tensor:
    """The image, its longer side reduced to so many pixels, its grey values replaced by their ranks, 0 to 1."""
    small = reduced(image, side)
    order = small.flatten().argsort(stable=True)
    ranks = torch.empty_like(small).flatten()
    ranks[order] = torch.linspace(0, 1, order.numel(), device=image.device)
    return ranks.view(small.shape)


def find_chest(image: Tensor) -> Chest:
    """The place and size at which the template of two lungs correlates most, whether positively or negatively."""
    small = ranked(image, TEMPLATE_SIDE)
    more = round(MARGIN * max(small.shape))
    wide = functional.pad(small[None, None], (more, more, more, more), mode="replicate")
    best = Chest(correlation=0, top=0, left=0, bottom=1, right=1)
    for part in WIDTHS:
        for shape in SHAPES:
            width = round(part * small.shape[1])
            height = round(shape * width)
            template = lungs_template(height, width, image.device)
            if template.shape[0] > wide.shape[2] or template.shape[1] > wide.shape[3]:
                continue
            found = correlation(wide, template)
            at = int(found.abs().argmax())
            value = float(found.flatten()[at])
            if abs(value) > abs(best.correlation):
                row, column = divmod(at, found.shape[1])
                top = row - more + (template.shape[0] - height) / 2
                left = column - more + (template.shape[1] - width) / 2
                best = Chest(
                    correlation=value,
                    top=top / small.shape[0],
                    left=left / small.shape[1],
                    bottom=(top + height) / small.shape[0],
                    right=(left + width) / small.shape[1],
                )
    return best


def lungs_template(height: int, width: int, device: torch.device) -> Tensor:
    """Two dark ovals, -1, of this height and together of this width, with what is brighter, 1, around them."""
    border = max(1, round(0.08 * width))
    v = torch.linspace(-1 - 2 * border / height, 1 + 2 * border / height, height + 2 * border, device=device)[:, None]
    u = torch.linspace(-1 - 2 * border / width, 1 + 2 * border / width, width + 2 * border, device=device)[None]
    lung = ((u.abs() - 0.58) / 0.40) ** 2 + v**2 < 1
    return torch.where(lung, -1.0, 1.0)


def correlation(image: Tensor, template: Tensor) -> Tensor:
    """Pearson's correlation of a template with (1, 1, row, column) wherever it lies wholly in it: (row, column)."""
    n = template.numel()
    centred = (template - template.mean())[None, None]
    ones = torch.ones_like(centred)
    mean = functional.conv2d(image, ones) / n
    spread = (functional.conv2d(image * image, ones) / n - mean * mean).clamp(min=1e-6).sqrt()
    return (functional.conv2d(image, centred) / (n * spread * centred.square().mean().sqrt()))[0, 0]


def outline_lungs(shown: Tensor, chest: Chest) -> Tensor:
    """uint8 (row, column) on the reduced image: 1 the lung on the left, 2 that on the right.

    Of what is darker than Otsu's threshold of the box, the two largest pieces beside each other; where they are one
    piece, it is parted in the middle of the box.
    """
    small = ranked(shown, LUNG_SIDE)
    rows, columns = small.shape
    margin, height = 0.08 * (chest.right - chest.left), chest.bottom - chest.top
    top, bottom = (int(min(max(v, 0), 1) * rows) for v in (chest.top - 0.1 * height, chest.bottom + 0.35 * height))
    left, right = (int(min(max(u, 0), 1) * columns) for u in (chest.left - margin, chest.right + margin))
    lungs = torch.zeros(small.shape, dtype=torch.uint8, device=shown.device)
    box = small[top:bottom, left:right]
    if box.numel() == 0:
        return lungs
    dark = box < otsu(box)
    middle = int((chest.left + chest.right) / 2 * columns) - left
    pieces = components(dark[None])[0]
    pair = beside_each_other(pieces)
    if pair is None:
        dark[:, middle] = False
        pieces = components(dark[None])[0]
        pair = largest_piece(pieces[:, :middle]), largest_piece(pieces[:, middle:])
    for label, piece in enumerate(pair, 1):
        lungs[top:bottom, left:right][(pieces == piece) & dark] = label
    return lungs


def largest_piece(pieces: Tensor) -> int:
    """The number of the largest piece, 0 if there is none."""
    size = torch.bincount(pieces.flatten())
    size[:1] = 0
    return int(size.argmax()) if len(size) else 0


def beside_each_other(pieces: Tensor) -> tuple[int, int] | None:
    """The numbers of the two largest pieces, from left to right, if the smaller is at least a quarter of the larger."""
    v, u = (torch.linspace(-1, 1, n, device=pieces.device) for n in pieces.shape)
    centre = (v[:, None].abs() < 0.8) & (u[None].abs() < 0.7)  # air beside the body lies outside of it
    size = torch.bincount(pieces[centre], minlength=int(pieces.max()) + 1)
    size[0] = 0
    if len(size) < 3 or 4 * (two := size.topk(2)).values[1] < two.values[0]:
        return None
    first, second = (int(k) for k in two.indices)
    where = [float((pieces == k).nonzero()[:, 1].double().mean()) for k in (first, second)]
    return (first, second) if where[0] < where[1] else (second, first)


def asymmetry(lungs: Tensor) -> float:
    """How far the middle of the mediastinum lies off the middle of both lungs, as a part of their width together.

    Positive where it lies towards the right of the image; the median over the upper part of the lungs, above the heart.
    """
    left, right = lungs == 1, lungs == 2
    rows = (left.any(1) & right.any(1)).nonzero().flatten()
    if len(rows) < FEWEST_ROWS:
        return 0.0
    rows = rows[len(rows) // 10 : 4 * len(rows) // 10]
    number = torch.arange(lungs.shape[1], device=lungs.device).float()
    outer = torch.where(left[rows], number, torch.inf).amin(1), torch.where(right[rows], number, -torch.inf).amax(1)
    inner = torch.where(left[rows], number, -torch.inf).amax(1), torch.where(right[rows], number, torch.inf).amin(1)
    return float(((sum(inner) - sum(outer)) / 2 / (outer[1] - outer[0] + 1)).median())


def cut_off(lungs: Tensor) -> float:
    """Part of the outline of the lungs that lies on the edge of the image."""
    mask = lungs > 0
    on_edge = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    steps = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    return float(on_edge / (on_edge + steps).clamp(min=1))


def clipped(image: Tensor, chest: Chest) -> tuple[float, float]:
    """Parts of the pixels in the box of the chest that have the lowest and the highest value of the image."""
    rows, columns = image.shape
    box = image[
        int(max(chest.top, 0) * rows) : int(min(chest.bottom, 1) * rows),
        int(max(chest.left, 0) * columns) : int(min(chest.right, 1) * columns),
    ]
    if box.numel() == 0:
        return 0.0, 0.0
    return float((box == image.min()).float().mean()), float((box == image.max()).float().mean())


def letters(shown: Tensor) -> Tensor:
    """Lead letters L and R: float32 (marker, 6), see `assess`; the other way round too, as films are turned over."""
    small = reduced(shown, MARKER_SIDE)
    scale = max(shown.shape) / max(small.shape)
    few = small.flatten()[:: max(1, small.numel() // 100_000)]
    low, high = few.quantile(0.01), few.quantile(0.99)
    eroded = -functional.max_pool2d(-small[None, None], STROKE, 1, STROKE // 2)
    opened = functional.max_pool2d(eroded, STROKE, 1, STROKE // 2)[0, 0]
    pieces = components((small - opened > BRIGHTER * (high - low))[None])[0]
    known = glyphs(shown.device)
    found = []
    for piece, (top, left, bottom, right) in boxes(pieces):
        shape = pieces[top:bottom, left:right] == piece
        soft = blurred(functional.interpolate(shape[None, None].float(), size=(GLYPH, GLYPH), mode="area"))
        fits = [count == holes(shape) for count in HOLES]
        likeness = [
            fit * max(alike(soft, glyph) for glyph in variants) for fit, variants in zip(fits, known, strict=True)
        ]
        first, second = sorted(likeness, reverse=True)[:2]
        letter = likeness.index(first)
        if letter < 2 and first >= LIKENESS and first - second >= LEAD:
            found.append([letter, first, top * scale, left * scale, bottom * scale, right * scale])
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 6)


def boxes(pieces: Tensor) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Each piece of the size and shape of a letter, with its box: top, left, bottom, right."""
    size = torch.bincount(pieces.flatten())
    found = []
    for k in ((size >= MARKER_HEIGHTS[0]) & (size <= MARKER_HEIGHTS[1] ** 2)).nonzero().flatten().tolist():
        row, column = (pieces == k).nonzero(as_tuple=True)
        top, left, bottom, right = int(row.min()), int(column.min()), int(row.max()) + 1, int(column.max()) + 1
        height, width = bottom - top, right - left
        if k and MARKER_HEIGHTS[0] <= height <= MARKER_HEIGHTS[1] and 0.35 * height <= width <= 1.2 * height:
            found.append((k, (top, left, bottom, right)))
    return found


def holes(shape: Tensor) -> int:
    """How many holes a shape (row, column) has."""
    around = components(~functional.pad(shape, (1, 1, 1, 1))[None])
    return int(around.max()) - 1


@cache
def glyphs(device: torch.device) -> list[list[Tensor]]:
    """L, R, and letters that they must not be taken for; each as it is, the other way round, and leaning."""
    drawn = torch.tensor([[[c == "#" for c in row] for row in glyph] for glyph in LETTERS], device=device)
    upright = functional.interpolate(drawn[:, None].float(), size=(GLYPH, GLYPH), mode="nearest")
    return [
        [blurred(leaning(side, slant)) for side in (letter[None], letter[None].flip(3)) for slant in SLANTS]
        for letter in upright
    ]


def leaning(letter: Tensor, slant: float) -> Tensor:
    """A letter (1, 1, row, column) sheared by columns per row, in the box that then holds it."""
    shear = torch.tensor([[[1, slant, 0], [0, 1, 0]]], device=letter.device)
    places = functional.affine_grid(shear, [1, 1, GLYPH, 2 * GLYPH], align_corners=False)
    wide = functional.grid_sample(functional.pad(letter, (GLYPH // 2, GLYPH // 2)), places, align_corners=False) > 0.5
    columns = wide[0, 0].any(0).nonzero().flatten()
    wide = wide[..., columns[0] : columns[-1] + 1].float()
    return functional.interpolate(wide, size=(GLYPH, GLYPH), mode="area")


def blurred(shape: Tensor) -> Tensor:
    """A shape (1, 1, row, column) with soft edges and room around: strokes of any width are alike."""
    kernel = torch.exp(-(torch.arange(-4, 5, device=shape.device) ** 2) / 4.5)
    kernel = kernel / kernel.sum()
    wide = functional.pad(shape, (7, 7, 7, 7))
    return functional.conv2d(functional.conv2d(wide, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def alike(image: Tensor, other: Tensor) -> float:
    """Pearson's correlation of two shapes."""
    image, other = image - image.mean(), other - other.mean()
    return float((image * other).sum() / (image.norm() * other.norm()).clamp(min=1e-6))
