"""What the process that jobs are forked from has done once, so that no job does it again: it has composed objects.

Imported there, by `node.engine.child_process`, and nowhere else. highdicom reads its tables of attributes, pydicom its
dictionaries and Pillow its fonts when they are first asked for, which takes longer than to compose a study's results.
"""

import gc
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from node import testing
from node.codes import SCT, UCUM
from node.compose import Identity, compose, picture, write
from node.images.part10 import Part10
from node.images.stacks import group_into_stacks
from node.results import Measurement, Result, Segment, Segmentation

SPLEEN = Segment(label="Spleen", type=SCT.Spleen, category=SCT.Organ)
SPLEEN_VOLUME = Measurement(name=SCT.Volume, value=1.0, unit=UCUM.CubicCentimeter, of=SPLEEN)


def compose_phantom() -> None:
    """Compose, write and draw the results of a phantom of two slices, and forget them."""
    with TemporaryDirectory() as folder:
        files = testing.write(testing.ct_series(slices=2, rows=16, columns=16), Path(folder))
        (ct,) = group_into_stacks(map(Part10.of_file, files)).series
        volume = ct.volume()
        labels = volume.with_array(np.ones(volume.array.shape, np.uint8))
        results: list[Result] = [Segmentation(labels=labels, segments=[SPLEEN]), SPLEEN_VOLUME]
        identity = Identity(
            study_uid=ct.study_uid,
            revision=1,
            plugin="phantom",
            version="1",
            title="Phantom",
            manufacturer="",
            models=(),
            at=datetime.now(UTC),
            first_series_number=1,
            device_uid="2.25.1",
        )
        for made in compose({"ct": ct}, results, identity):
            write(made, BytesIO())
        picture({"ct": ct}, results, identity)


with suppress(OSError):  # no room for temporary files: the first of each job's objects takes longer
    compose_phantom()
gc.collect()
gc.freeze()  # a job whose collector went over all of this would copy every page of it
