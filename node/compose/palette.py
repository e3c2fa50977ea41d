"""Colours of segments and regions, the same in every object and on the summary page."""

from collections.abc import Mapping, Sequence

from node.results import Region, Result, Segment, Segmentation

PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""(red, green, blue) for segments without a colour, in the order of their numbers.

Readers with any colour vision tell them apart (Okabe and Ito 2008). After the last come lighter ones, then darker ones.
"""
TINTS = ((0, 0.0), (255, 0.55), (0, 0.5))
"""Round through the palette → grey value that is mixed in, and its part."""


def palette_color(index: int) -> tuple[int, int, int]:
    """Return (red, green, blue) of the palette at an index from 0; 21 are distinct, then they start again."""
    turn, place = divmod(index, len(PALETTE))
    grey, part = TINTS[turn % len(TINTS)]
    red, green, blue = (round(value * (1 - part) + grey * part) for value in PALETTE[place])
    return red, green, blue


def segment_colors(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    """Return (red, green, blue) of every segment: its own colour, else the one of the palette."""
    return [segment.color or palette_color(index) for index, segment in enumerate(segments)]


def region_colors(results: Sequence[Result]) -> Mapping[int, tuple[int, int, int]]:
    """Return (red, green, blue) of every region by its `id`: its own colour, else the palette's next after segments."""
    regions = [result for result in results if isinstance(result, Region)]
    taken = sum(len(result.segments) for result in results if isinstance(result, Segmentation))
    return {id(region): region.color or palette_color(index) for index, region in enumerate(regions, taken)}
