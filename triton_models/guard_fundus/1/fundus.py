"""Whether a photograph shows the back of an eye: a round, red field with vessels."""

from serving.guarding import Answer, MeasureLimit, answer_by_best_image, blank
from serving.picture_measures import closed, colour_difference, lit_field, sized
from torch import Tensor

EXPECTED = "not a colour photograph of the back of an eye"
VESSEL = 9
"""Of 256 pixels: vessels are narrower."""
LIMITS = (
    MeasureLimit("colour", 30, 255, "a picture without colour"),
    MeasureLimit("roundness", 0.93, 1, "no round field"),
    MeasureLimit("red to green", 1.3, 10, "a field that is not red"),
    MeasureLimit("red to blue", 1.8, 1000, "a field that is not red"),
    MeasureLimit("vessels", 0.02, 0.25, "no vessels"),
)
"""Read off development pictures; the card has what they have."""


def judge(images: Tensor, spacing: Tensor, header: str) -> Answer:  # noqa: ARG001 - the pixels decide
    """Say whether one of the images shows the back of an eye; docs/plugin-author.md has what is given and returned."""
    return answer_by_best_image([measures(plane) for plane in images], LIMITS, EXPECTED)


def measures(plane: Tensor) -> dict[str, float]:
    """Measure a plane (row, column, sample); empty if it is blank."""
    picture = sized(plane)
    field = lit_field(picture)
    if blank(plane) or field is None:
        return {}
    red, green, blue = picture[:, field.lit].mean(1).tolist()
    thin = closed(picture[1], VESSEL) - picture[1]
    inside = field.inner & field.lit
    return {
        "colour": float(colour_difference(picture)[field.lit].mean()),
        "roundness": field.roundness,
        "red to green": red / max(green, 1),
        "red to blue": red / max(blue, 1),
        "vessels": float(thin[inside].mean() / picture[1][inside].mean().clamp(min=1)),
    }
