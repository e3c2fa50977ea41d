"""CT as a scanner makes it of a plane: parallel projections, and their filtered back-projection (Kak & Slaney 1988).

Planes are float32 tensors (row, column) and hold attenuation for each pixel's width; projections are (view, ray), one
ray for each column. Views are spread evenly over half a turn.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

WATER = 0.02
"""Attenuation of water for each mm, at about 70 keV."""
VIEWS = 360


def attenuation(hu: Tensor, pixel_mm: float) -> Tensor:
    """Return what a plane in HU takes away for each pixel's width; it is air outside the circle that turns with it."""
    rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in hu.shape), indexing="ij")
    inside = rows**2 + columns**2 <= 1
    return torch.where(inside, (hu + 1000).clamp(min=0) / 1000 * WATER * pixel_mm, 0.0)


def projected(plane: Tensor, views: int = VIEWS) -> Tensor:
    """Return the line integrals of a square plane."""
    angles = torch.arange(views) * math.pi / views
    cosine, sine = angles.cos(), angles.sin()
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    sums = []
    for some in torch.split(torch.cat([turn, torch.zeros(views, 2, 1)], 2), 40):
        grid = functional.affine_grid(some, [len(some), 1, *plane.shape], align_corners=False)
        turned = functional.grid_sample(plane.expand(len(some), 1, -1, -1), grid, align_corners=False)
        sums.append(turned[:, 0].sum(1))
    return torch.cat(sums)


def reconstructed(projections: Tensor, cutoff: float = 1.0) -> Tensor:
    """Return the plane that projections are of.

    The ramp filter goes down to nothing at `cutoff`, a part of the highest frequency, as a smooth kernel does
    (Hann); at 1 it is the ramp alone, which gives sharp images.
    """
    views, rays = projections.shape
    length = 2 ** math.ceil(math.log2(2 * rays))
    frequency, steps = torch.fft.rfftfreq(length), torch.fft.fftfreq(length, 1 / length)
    kernel = torch.where(steps % 2 == 1, -1 / (math.pi * steps) ** 2, 0.0)
    kernel[0] = 0.25  # sampled in space, not in frequency: else the mean is lost (Kak & Slaney 1988, section 3.3.3)
    ramp = torch.fft.rfft(kernel).real
    if cutoff < 1:
        ramp = ramp * torch.where(frequency < cutoff / 2, (1 + torch.cos(2 * math.pi * frequency / cutoff)) / 2, 0.0)
    filtered = torch.fft.irfft(torch.fft.rfft(projections, length) * ramp, length)[:, :rays]
    middle = (rays - 1) / 2
    y, x = torch.meshgrid(*(torch.arange(rays) - middle,) * 2, indexing="ij")
    plane = torch.zeros(rays, rays)
    for number, ray in enumerate(filtered):
        angle = number * math.pi / views
        place = (x * math.cos(angle) + y * math.sin(angle) + middle).clamp(0, rays - 1.001)
        low = place.long()
        plane += torch.lerp(ray[low], ray[low + 1], place - low)
    return plane * math.pi / views


def quantum_noise(projections: Tensor, generator: torch.Generator) -> Tensor:
    """Return the noise of counted photons in projections, at any dose: fewer come through what takes away more."""
    return torch.randn(projections.shape, generator=generator) * (projections / 2).exp()
