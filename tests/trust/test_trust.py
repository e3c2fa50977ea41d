"""No plugin answers about images of something else: the matrix of `python -m tests.bench trust`, thinned.

Demonstration networks are asked as if a route permitted it, so that guards and plausibility are what refuses.
"""

from collections.abc import Iterator

import pytest

from node.triton import GrpcTriton, LocalServer, Triton
from tests.peers import ROOT
from tests.trust import real_images
from tests.trust.distortions import DISTORTIONS
from tests.trust.judging import ANSWERED, judged
from tests.trust.pairs import PURPOSES, Pair

SMALL = {"CT": "cut abdomen CT", "MR": "heart MR", "PT": "pelvis PET"}
"""Of the volumes, one for each modality that takes little time."""
PLANES = ("histology_he", "pelvis_xray_other")
CHANGES = ("blank", "noise")
THINNED = (
    "ct_body", "ct_head_bleed", "ct_liver", "ct_lung", "cxr_findings", "cxr_quality", "mg_lesion", "op_retina",
    "pt_lesion", "sm_breast", "xc_skin",
)  # fmt: skip
"""The others are in the bench alone."""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with LocalServer(ROOT / "triton_models", tmp_path_factory.mktemp("triton") / "triton.log") as server:
        client = GrpcTriton([server.address], deadline_seconds=300)
        yield client
        client.close()


def wrong(plugin: str) -> list[Pair]:
    """Return pairs of a plugin and images of something else, and of nothing."""
    purpose = PURPOSES[plugin]
    if purpose.modality in SMALL:
        images = list(real_images.volumes([SMALL[purpose.modality]]))
    else:
        images = [image for image in real_images.planes() if image.shows in PLANES and image.shows not in purpose.shows]
    if not images:
        pytest.skip("the real images are not beside this repository")
    pairs = [Pair(plugin=plugin, image=image, right=image.shows in purpose.shows) for image in images]
    changed = [(change, DISTORTIONS[change](images[0])) for change in CHANGES]
    pairs += [Pair(plugin=plugin, image=image, right=False, change=change) for change, image in changed]
    return [pair for pair in pairs if not pair.right]


@pytest.mark.parametrize("plugin", THINNED)
def test_nothing_is_answered_about_images_of_something_else(plugin: str, triton: Triton) -> None:
    verdicts = [judged(pair, triton) for pair in wrong(plugin)]
    assert [verdict.pair.name for verdict in verdicts if verdict.outcome == ANSWERED] == []
