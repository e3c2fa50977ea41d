"""What the fork server does once, so that no job has to: it imports the stages, and composes results of a phantom.

highdicom reads its tables of attributes, pydicom its dictionaries and Pillow its fonts when they are first used, which
takes longer than to compose the results of a study. `node.engine.preload_children` has the fork server import this
module; only there does the import do anything.
"""

import gc
import signal
import sys
from contextlib import suppress
from multiprocessing import forkserver

from node.log import log_to_stderr


def preload() -> None:
    """Import what jobs need, have it read its tables, and keep all of it out of the garbage collector.

    The collector of a job would write to every page of what it finds, and so have the kernel copy it.
    """
    from node.roles import work_role as _work_role  # noqa: F401 (what children run is imported with it)

    with suppress(OSError):  # no room for temporary files: the first objects of each job take longer
        compose_phantom()
    gc.collect()
    gc.freeze()


def compose_phantom() -> None:
    """Compose, write and draw the results of a phantom of two slices, and forget them."""
    from datetime import UTC, datetime
    from io import BytesIO
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import numpy as np

    from node import testing
    from node.codes import SCT, UCUM
    from node.compose import Case, Identity, compose, draw_summary_page, write_object
    from node.images.part10 import Part10
    from node.images.stacks import group_into_stacks
    from node.results import Measurement, Result, Segment, Segmentation

    spleen = Segment(label="Spleen", type=SCT.Spleen, category=SCT.Organ)
    with TemporaryDirectory() as folder:
        files = testing.write(testing.ct_series(slices=2, rows=16, columns=16), Path(folder))
        (ct,) = group_into_stacks(map(Part10.of_file, files)).series
        volume = ct.volume()
        labels = volume.with_array(np.ones(volume.array.shape, np.uint8))
        results: list[Result] = [
            Segmentation(labels=labels, segments=[spleen]),
            Measurement(name=SCT.Volume, value=1.0, unit=UCUM.CubicCentimeter, of=spleen),
        ]
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
        case = Case(inputs={"ct": ct}, results=results, identity=identity)
        for dataset in compose(case):
            write_object(dataset, BytesIO())
        draw_summary_page(case)


def in_fork_server() -> bool:
    """Return whether this process is the fork server of `multiprocessing`: its program is that function."""
    return getattr(sys.modules["__main__"], "main", None) is forkserver.main


if in_fork_server():
    log_to_stderr()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as of a terminal that is closed; jobs inherit it
    preload()
