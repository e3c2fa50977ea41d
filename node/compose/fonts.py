"""Words on pictures: in Pillow's own font, in one of the machine's for letters which that lacks, else in ASCII."""

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from node.compose.ascii_text import plain

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]
Side = Literal["left", "middle", "right"]

FURTHER_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "VL-Gothic-Regular.ttf",
    "ipag.ttf",
    "wqy-microhei.ttc",
    "NanumGothic.ttf",
    "DroidSansFallbackFull.ttf",
)
"""Font files for other scripts, looked for where the system keeps fonts; the first that has a letter is taken.

Pillow's font has little beyond ASCII, and one for all scripts would be larger than the node.
"""
NOWHERE = "\U0010ffff"
"""No character: a font draws it like all that it lacks."""
PROBE = 16
"""Size at which fonts are asked for letters."""
RIM = 1
"""Width of a rim round letters in pixels."""


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    size: int,
    ink: Color,
    *,
    side: Side = "left",
    edge: Color | None = None,
) -> None:
    """Write one line with its baseline at a place, which is its left end, its middle or its right end.

    Parameters
    ----------
    edge
        Colour of a rim round the letters, for words on an image.
    """
    left = at[0] - width(words, size) * {"left": 0.0, "middle": 0.5, "right": 1.0}[side]
    for font, piece in _pieces(words, size):
        draw.text((left, at[1]), piece, ink, font, anchor="ls", stroke_width=RIM if edge else 0, stroke_fill=edge)
        left += font.getlength(piece)


def width(words: str, size: int) -> float:
    """Return how long a line is in pixels."""
    return float(sum(font.getlength(piece) for font, piece in _pieces(words, size)))


def wrapped(words: str, size: int, room: float) -> list[str]:
    """Return lines of at most `room` pixels, broken at spaces, and inside a word that is longer."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size) <= room:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and width(lines[-1] + letter, size) > room:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line] or [""]


def lacking(words: str) -> str:
    """Return the letters for which a question mark stands: no font has them, and ASCII has nothing like them."""
    missing = (letter for letter in words if letter.isprintable() and not _font_of(letter, PROBE))
    return "".join(letter for letter in missing if plain(letter) == "?")


def _pieces(words: str, size: int) -> Sequence[tuple[Font, str]]:
    """Return a line in pieces of one font each, without what is not printed."""
    printed = [letter for letter in " ".join(words.split()) if letter.isprintable()]
    known = [(font, letter) if (font := _font_of(letter, size)) else (_own(size), plain(letter)) for letter in printed]
    return [
        (font, "".join(letter for _, letter in run)) for font, run in ((f, list(r)) for f, r in groupby(known, _first))
    ]


def _first(pair: tuple[Font, str]) -> Font:
    return pair[0]


@cache
def _font_of(letter: str, size: int) -> Font | None:
    """Return the first font that has a letter."""
    return next((font for font in _fonts(size) if letter == " " or _drawn(font, letter) != _drawn(font, NOWHERE)), None)


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    return _own(size), *(font for name in FURTHER_FONTS if (font := _of_system(name, size)))


@cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


def _of_system(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _drawn(font: Font, letter: str) -> bytes:
    canvas = Image.new("L", (64, 64))
    ImageDraw.Draw(canvas).text((8, 8), letter, 255, font)
    return canvas.tobytes()
