"""The second network of mr_brain is given the volumes of the parts that the first one outlined."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.serving import method

conditions = method("mr_brain", "conditions")
SPACING = 2.8, 3.0, 3.0


def test_the_network_is_given_the_volume_of_every_part_in_ml() -> None:
    labels = torch.zeros(44, 48, 48, dtype=torch.uint8)
    counts = [2000 + 10 * number for number in range(1, 18)]
    labels.flatten()[: sum(counts)] = torch.repeat_interleave(torch.arange(1, 18), torch.tensor(counts)).byte()
    asked = []

    def network(volumes: Tensor) -> list[Tensor]:
        asked.append(volumes)
        return [torch.tensor([[0.9, 0.2]])]

    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING)[::-1]
    volumes, found = conditions.conditions_of(labels, affine, network)
    assert volumes.tolist() == pytest.approx([count * np.prod(SPACING) / 1000 for count in counts], rel=1e-5)
    assert torch.equal(asked[0], volumes[None])
    assert found.tolist() == pytest.approx([0.9, 0.2])
