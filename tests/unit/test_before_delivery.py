"""Guard, geometry check and plausibility stand between the images and the objects: `flow.perform` asks all three."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node import flow, testing
from node.errors import BrokenResult
from node.host import read_plugin
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.infer import Order, Performed
from node.records import Job, JobState
from node.spool import Spool
from node.triton.fake import FakeTriton

MANIFEST = """\
name = "spleen"
version = "1"
title = "Spleen"
kind = "A"
[series.ct]
when.Modality = "CT"
guard = "abdomen"
"""
CODE = """\
from dataclasses import replace

import numpy as np

from node import Segment, Segmentation, codes

SPLEEN = Segment(label="Spleen", type=codes.SCT.Spleen, category=codes.SCT.Organ)

def run(ct, triton):
    volume = ct.volume()
    labels = volume.with_array(np.ones(volume.array.shape, np.uint8))
    moved = np.eye(4)
    moved[0, 3] = {millimetres}
    return Segmentation(labels=replace(labels, affine=moved @ labels.affine), segments=[SPLEEN])
"""
TABLE = '[[row]]\nquantity = "volume"\nof = "Spleen"\nat_most = {at_most}\nsource = "a reason that is long enough"\n'


@pytest.fixture
def performed(spool: Spool, tmp_path: Path) -> Callable[..., Performed]:
    """Perform a job about a right series; the arguments make one of the three checks fail."""

    def perform(*, suitable: bool = True, millimetres: float = 0.0, at_most: float = 1e6) -> Performed:
        folder = tmp_path / "plugins" / "spleen"
        folder.mkdir(parents=True)
        (folder / "plugin.toml").write_text(MANIFEST)
        (folder / "plugin.py").write_text(CODE.format(millimetres=millimetres))
        (folder / "plausible.toml").write_text(TABLE.format(at_most=at_most))
        images = testing.ct_series(slices=3, rows=8, columns=8)
        parts = tuple(map(Part10.of_file, testing.write(images, tmp_path / "images")))
        (series,) = group_into_stacks(parts).series
        job = Job(
            id=1, study_uid=series.study_uid, revision=1, plugin="spleen", version="1", route="r", destinations=(),
            inputs=({"ct": series.key},), state=JobState.RUNNING, attempts=1, planned_at=1.0, ordinal=0, worker="",
            reason="",
        )  # fmt: skip
        order = Order(job=job, plugin=read_plugin(folder), parts=parts, predecessors=(), device_uid="2.25.1", inputs="")

        def guard(**_: Any) -> dict[str, Any]:
            answer = {"suitable": [suitable], "reason": ["this is a head"], "score": [0.5]}
            return {name: np.array(value) for name, value in answer.items()}

        return flow.perform(order, spool, FakeTriton({"guard_abdomen": guard}), {})

    return perform


def test_an_answer_that_passes_all_three_becomes_objects(performed: Callable[..., Performed]) -> None:
    done = performed()
    assert done.objects
    assert not done.remarks


def test_images_that_the_guard_refuses_make_no_object(performed: Callable[..., Performed]) -> None:
    done = performed(suitable=False)
    assert not done.objects
    assert "this is a head" in " ".join(done.remarks)


def test_an_answer_that_is_not_plausible_makes_no_object(performed: Callable[..., Performed]) -> None:
    done = performed(at_most=0.001)
    assert not done.objects
    assert "the answer is not plausible" in " ".join(done.remarks)


def test_an_answer_that_lies_beside_the_images_makes_no_object(
    performed: Callable[..., Performed], spool: Spool
) -> None:
    with pytest.raises(BrokenResult, match="lies on none of the series"):
        performed(millimetres=500.0)
    assert not [path for path in spool.objects.rglob("*") if path.is_file()]
