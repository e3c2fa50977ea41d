"""Grey values of single images: fewer pixels, and thresholds. Linked beside each model that needs it."""

import torch
from torch import Tensor
from torch.nn import functional


def reduced(image: Tensor, side: int) -> Tensor:
    """The image averaged to so many pixels along its longer side, or as it is where it has no more."""
    scale = side / max(image.shape)
    if scale >= 1:
        return image
    size = [max(1, round(n * scale)) for n in image.shape]
    return functional.interpolate(image[None, None], size=size, mode="area")[0, 0]


def otsu(values: Tensor, bins: int = 128) -> float:
    """The threshold that leaves the least variance within two classes (Otsu, IEEE TSMC 1979;9:62)."""
    count, centre, edge = _histogram(values, bins)
    below, sums = count.cumsum(0), (count * centre).cumsum(0)
    above = below[-1] - below
    between = (sums[-1] * below / below[-1] - sums) ** 2 / (below * above).clamp(min=1)
    return float(edge[int(between.argmax()) + 1])


def otsu_of_three(values: Tensor, bins: int = 128) -> tuple[float, float]:
    """The thresholds that leave the least variance within three classes (Liao et al., J Inf Sci Eng 2001;17:713)."""
    count, centre, edge = _histogram(values, bins)
    zero = torch.zeros(1, dtype=count.dtype, device=count.device)
    below, sums = torch.cat([zero, count.cumsum(0)]), torch.cat([zero, (count * centre).cumsum(0)])
    held = below[None] - below[:, None]
    part = torch.where(held > 0, (sums[None] - sums[:, None]) ** 2 / held.clamp(min=1), zero)
    between = (part[0][:, None] + part + part[:, -1][None]).triu(1)
    first, second = divmod(int(between.argmax()), bins + 1)
    return float(edge[first]), float(edge[second])


def _histogram(values: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many values each bin has, its centre, and the edges of the bins, float64."""
    low, high = float(values.min()), float(values.max())
    count = torch.histc(values, bins, low, high).double()
    edge = low + torch.arange(bins + 1, device=values.device).double() * (high - low) / bins
    return count, (edge[1:] + edge[:-1]) / 2, edge
