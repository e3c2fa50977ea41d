"""A finding in a radiograph: the model's score, read by a threshold."""

from collections.abc import Iterator

from node import Caveat, Finding, Result, Series, Triton, codes

THRESHOLD = 0.5
"""The finding is present from this score on: choose it on images that the network has not seen."""
INDETERMINATE_FROM = 0.4


def run(xray: Series, triton: Triton) -> Iterator[Result]:
    """Ask for a score of the first image, and yield it as a finding."""
    answer = triton.infer("template", image=xray.brightness())  # as displayed, (row, column), MONOCHROME1 inverted
    yield Finding(
        name=codes.SCT.PleuralEffusion,
        score=float(answer["score"][0]),
        threshold=THRESHOLD,
        indeterminate_from=INDETERMINATE_FROM,
    )
    if len(xray.frames) > 1:
        yield Caveat(f"Only the first of {len(xray.frames)} images was looked at.")
