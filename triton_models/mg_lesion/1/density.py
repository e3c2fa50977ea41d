"""Breast and dense tissue in a mammogram, by thresholds; no trained weights.

Area percent density is dense area over breast area (Byng et al., Phys Med Biol 1994;39:1629); here both thresholds are
Otsu's: of air, fat and dense tissue together for the breast, and of two classes within the breast for dense tissue.
"""

import torch
from serving.components import largest
from serving.grey_values import otsu, otsu_of_three, reduced
from torch import Tensor
from torch.nn import functional

SIDE = 512  # pixels of the longer side while thresholds are sought: vessels and calcifications are blurred away
RIM = 0.015  # of the longer side: skin, and the edge where the breast is thin, have no dense tissue
LEAST_CONTRAST = 0.3  # by which dense tissue is brighter than fat, as a part of what fat is brighter than air
LEAST_SIDE = 64


def tissue_of(image: Tensor) -> Tensor:
    """Outline breast and dense tissue.

    image: float32 (row, column), brightness of any range, one mammogram.

    Returns
    -------
    uint8 (row, column): 0 none, 1 breast, 2 dense tissue of it.

    Raises
    ------
    ValueError
        The image has other axes, or fewer than 64 pixels along one.
    """
    if image.ndim != 2 or min(image.shape) < LEAST_SIDE:
        raise ValueError(f"the image has two axes of at least {LEAST_SIDE} pixels, not {tuple(image.shape)}")
    small = reduced(image.float(), SIDE)
    breast = breast_of(small)
    tissue = breast.to(torch.uint8) + dense_of(small, breast).to(torch.uint8)
    return functional.interpolate(tissue[None, None].float(), image.shape)[0, 0].to(torch.uint8)


def tissues_of(images: Tensor) -> Tensor:
    """Return breast and dense tissue of images (image, row, column), each as `tissue_of` finds them."""
    return torch.stack([tissue_of(image) for image in images])


def breast_of(small: Tensor) -> Tensor:
    """The largest piece of what is brighter than air."""
    above, _ = otsu_of_three(small)
    return largest((small > above)[None].to(torch.uint8), 1)[0] > 0


def dense_of(small: Tensor, breast: Tensor) -> Tensor:
    """What is brighter than Otsu's threshold within the breast, its rim left out; nothing where there is fat alone."""
    inner = within_rim(breast, round(RIM * max(small.shape)))
    if not bool(inner.any()) or bool(breast.all()):
        return torch.zeros_like(breast)
    dense = inner & (small > otsu(small[inner]))
    air, fat, bright = (float(small[part].mean()) for part in (~breast, inner & ~dense, dense))
    return dense if bright - fat >= LEAST_CONTRAST * (fat - air) else torch.zeros_like(breast)


def within_rim(mask: Tensor, width: int) -> Tensor:
    """A mask without what lies nearer to its edge than a width in pixels; the edge of the image is none."""
    outside = functional.pad((~mask)[None, None].float(), [width] * 4)
    return functional.max_pool2d(outside, 2 * width + 1, stride=1)[0, 0] == 0
