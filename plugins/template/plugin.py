"""A plugin to copy: everything denser than 200 HU, outlined and measured."""

from collections.abc import Iterator

from node import Measurement, Result, Segment, Segmentation, Series, Triton, codes

DENSE = Segment(label="Dense tissue", type=codes.SCT.Bone, category=codes.SCT.Tissue)


def run(ct: Series, triton: Triton) -> Iterator[Result]:
    """Ask the model for a mask on the grid of the images, and yield results."""
    volume = ct.volume()  # HU, (slice, row, column), affine in mm LPS
    mask = triton.infer("template", image=volume)["mask"]
    yield Segmentation(labels=volume.with_array(mask), segments=[DENSE])
    millilitres = float(mask.sum()) * volume.voxel_ml
    yield Measurement(name=codes.SCT.Volume, value=millilitres, unit=codes.UCUM.CubicCentimeter, of=DENSE)
