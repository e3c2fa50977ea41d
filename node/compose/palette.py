"""Colours of segments and regions, the same in every object and on the summary page."""

from collections.abc import Mapping, Sequence

from node.results import Region, Result, Segment, Segmentation

PALETTE = (
    (230, 75, 53),
    (77, 187, 213),
    (0, 160, 135),
    (240, 190, 70),
    (145, 110, 200),
    (132, 200, 90),
    (220, 130, 170),
    (90, 130, 220),
    (190, 140, 100),
    (120, 210, 190),
)
"""(red, green, blue) for segments without a colour, in the order of their numbers; after the last it starts again."""


def palette_color(index: int) -> tuple[int, int, int]:
    """Return (red, green, blue) of the palette at an index from 0."""
    return PALETTE[index % len(PALETTE)]


def segment_colors(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    """Return (red, green, blue) of every segment: its own colour, else the one of the palette."""
    return [segment.color or palette_color(index) for index, segment in enumerate(segments)]


def region_colors(results: Sequence[Result]) -> Mapping[int, tuple[int, int, int]]:
    """Return (red, green, blue) of every region by its `id`: its own colour, else the palette's next after segments."""
    regions = [result for result in results if isinstance(result, Region)]
    taken = sum(len(result.segments) for result in results if isinstance(result, Segmentation))
    return {id(region): region.color or palette_color(index) for index, region in enumerate(regions, taken)}
