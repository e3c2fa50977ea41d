"""Compressed slices are decoded by the running node while others still arrive, and the job decodes none of them."""

import json
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000Lossless

from node import testing
from node.images.decoded import sizes
from tests.peers import Orthanc, Served, serve, storescu, wait_until

PLUGIN = """\
import json
from pathlib import Path
from node import Measurement, codes
from node.images import pixels

counted, decoded = [], pixels._decoded


def counting(stored, number):
    counted.append(number)
    return decoded(stored, number)


def run(ct, triton):
    pixels._decoded = counting
    array = ct.volume().array
    answer = Path(__file__).parents[2] / "node" / "spool" / "objects" / "answer.json"
    answer.write_text(json.dumps({"decoded": len(counted), "array": array.tolist()}))
    yield Measurement(name=codes.SCT.Volume, value=1, unit=codes.UCUM.CubicCentimeter)
"""
MANIFEST = 'name = "counting"\nversion = "1"\ntitle = "Counting"\nkind = "A"\n[series.ct]\nwhen.Modality = "CT"\n'
ROUTES = """\
[[route]]
name = "every CT"
when.Modality = "CT"
stable = { counted = "ImagesInAcquisition", quiet_seconds = 2 }
plugins = ["counting"]
to = ["PACS"]
"""
SLICES = 12


def complete(node: Served, slice_bytes: int) -> int:
    """How many slices the node has decoded so far."""
    return sum(
        list(files.values()).count(slice_bytes + 4) for files in sizes(node.folder / "spool" / "decoded").values()
    )


def test_a_job_decodes_no_image_that_was_decoded_on_arrival(tmp_path: Path, pacs: Orthanc) -> None:
    plugin, left = tmp_path / "plugins" / "counting", tmp_path / "node" / "spool" / "decoded" / "a.pack" / "32"
    for path, content in ((plugin / "plugin.py", PLUGIN), (plugin / "plugin.toml", MANIFEST), (left, "left behind")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    images = testing.ct_series(slices=SLICES, rows=64, columns=64, transfer_syntax=JPEG2000Lossless)
    for image in images:
        image.ImagesInAcquisition = SLICES
    files = testing.write(images, tmp_path / "images")
    answer = tmp_path / "node" / "spool" / "objects" / "answer.json"
    settings = {"ISOCENTER_PLUGINS": json.dumps([str(tmp_path / "plugins")])}
    with serve(tmp_path / "node", pacs=pacs.address, quiet=120, routes=ROUTES, environment=settings) as node:
        assert not left.exists()
        assert storescu(node.port, files[:-1], "-xv").returncode == 0
        wait_until(lambda: complete(node, 64 * 64 * 2) == SLICES - 1, what="the decoding of what has arrived")
        assert storescu(node.port, files[-1:], "-xv").returncode == 0
        wait_until(lambda: len(pacs.instances()) > 0, what="the report")
        wait_until(lambda: not sizes(node.folder / "spool" / "decoded"), what="the end of the decoded values")
    found = json.loads(answer.read_text())
    expected = np.stack([image.pixel_array for image in images]).astype(int) - 1024
    assert found["array"] == expected.tolist()
    assert found["decoded"] <= 1  # the last slice may come too late on a busy machine
