"""Which pictures the page has: one for each heat map, the key images in their order, numbers on outlines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.codes import DCM
from node.compose.annotated_image import INK, draw_annotated_image
from node.compose.overlays import Layer, Overlays, overlays_on
from node.compose.summary_page import key_slices, views
from node.results import Heatmap, Segment
from node.testing import ct_series
from tests.spleen_case import GREEN, LUNG, ORGAN, series_of

SIZE = 480


def layer(labels: NDArray[np.uint8], segments: Sequence[Segment]) -> Layer:
    areas = np.array([(labels == number).sum((1, 2)) for number in range(1, len(segments) + 1)])
    return Layer(labels=labels, areas=areas, segments=segments, colors=[GREEN] * len(segments))


def test_each_heat_map_has_a_picture_of_its_own_with_a_legend(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=5))
    array = np.zeros((5, 32, 32), np.float32)
    array[3, 8:16, 8:16] = 1
    maps = [
        Heatmap(array=values, source=series, name=DCM.ClassActivation, label=label)
        for label, values in (("Mass", array), ("Nodule", array[::-1, ::-1].copy()))
    ]
    shown = list(views(overlays_on(series, maps), series, []))
    assert [(view.index, [one.label for one in view.overlays.heatmaps]) for view in shown] == [
        (3, ["Mass"]), (1, ["Nodule"]),
    ]  # fmt: skip
    (legend, plain) = (
        np.array(draw_annotated_image(series, 3, shown[0].overlays, SIZE, shown=given)).astype(int)
        for given in (shown[0].shown, None)
    )
    assert (legend[10, 8:120] != plain[10, 8:120]).any()
    assert legend[10, 8, 2] > legend[10, 8, 0], "the lowest value is blue"
    assert legend[10, 120, 0] > legend[10, 120, 2], "the highest is red"


def test_key_images_come_first_in_their_order() -> None:
    labels = np.ones((40, 8, 8), np.uint8)
    assert key_slices(Overlays(layers=[layer(labels, [ORGAN])]), 40, [31, 4])[:2] == [31, 4]


def test_segments_are_marked_with_their_numbers_where_there_are_several(tmp_path: Path) -> None:
    series = series_of(tmp_path, ct_series(slices=3, rows=32, columns=32))
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[1, 8:16, 4:12], labels[1, 20:28, 4:12] = 1, 2
    overlays = Overlays(layers=[layer(labels, [ORGAN, LUNG])])
    assert overlays.marks
    right = np.array(draw_annotated_image(series, 1, overlays, SIZE))[8 * 15 : 16 * 15, 12 * 15 + 4 : 12 * 15 + 20]
    assert (right == INK).all(-1).any()
    assert not Overlays(layers=[layer(np.minimum(labels, 1), [ORGAN])]).marks
