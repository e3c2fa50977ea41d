"""Connected pieces of a mask, on whatever device it lies. Copied beside each model that needs it."""

import torch
from torch import Tensor


def components(mask: Tensor, *, planar: bool = False) -> Tensor:
    """Connected components (faces touching) of a (z, y, x) mask: int64, 0 outside, 1 … n; planar: each z by itself.

    Runs along x are the nodes; roots hang themselves under the smallest neighbouring root until no edge joins two
    roots (Shiloach & Vishkin 1982). The smallest number wins whatever the order, so the answer is always the same.
    """
    starts = mask.clone()
    starts[..., 1:] &= ~mask[..., :-1]
    run = (torch.cumsum(starts.flatten(), 0) - 1).view(mask.shape)
    pairs = []
    for axis in (1,) if planar else (0, 1):
        n = mask.shape[axis]
        here, there = run.narrow(axis, 0, n - 1), run.narrow(axis, 1, n - 1)
        both = mask.narrow(axis, 0, n - 1) & mask.narrow(axis, 1, n - 1)
        same = torch.zeros_like(both)
        same[..., 1:] = both[..., :-1] & both[..., 1:]  # the pair to the left joins the same two runs
        both &= ~same
        pairs.append(torch.stack((here[both], there[both])))
    edges = torch.cat(pairs, 1)
    parent = torch.arange(int(starts.sum()), device=mask.device)
    while True:
        edges = parent[edges]
        edges = edges[:, edges[0] != edges[1]]
        if edges.shape[1] == 0:
            break
        parent.scatter_reduce_(0, edges.amax(0), edges.amin(0), "amin")
        while not torch.equal(parent, above := parent[parent]):
            parent = above
    number = torch.unique(parent, return_inverse=True)[1] + 1
    labels = torch.zeros(mask.shape, dtype=torch.int64, device=mask.device)
    labels[mask] = number[run[mask]]
    return labels


def largest(labels: Tensor, label: int) -> Tensor:
    """Return labels (uint8, three axes) in which one label keeps only its largest connected piece."""
    pieces = components(labels == label)
    sizes = torch.bincount(pieces.flatten())
    sizes[0] = 0
    other = (pieces > 0) & (pieces != sizes.argmax())
    return torch.where(other, torch.zeros_like(labels), labels)
