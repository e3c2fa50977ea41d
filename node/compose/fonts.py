"""Text on pictures, in the font of Pillow; for letters that it lacks, in a font of the machine, else in ASCII."""

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
"""Font files for other scripts, in the font folders of the system; the first that has a letter is used.

The font of Pillow has little beyond ASCII, and a font for all scripts would be larger than the node.
"""
NOWHERE = "\U0010ffff"
"""No character: a font draws it like any letter that it lacks."""
PROBE = 16
"""Size in pixels at which a font is checked for a letter."""
RIM = 1
"""Width in pixels of the rim around letters."""


def draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    size: int,
    ink: Color,
    *,
    side: Side = "left",
    edge: Color | None = None,
) -> None:
    """Draw a line of text.

    Parameters
    ----------
    at
        Column and row of its baseline at its left end, middle or right end, as `side` says.
    size
        Height of the letters in pixels.
    edge
        Colour of a rim around the letters, for text on an image.
    """
    left = at[0] - text_width(words, size) * {"left": 0.0, "middle": 0.5, "right": 1.0}[side]
    for font, piece in _pieces(words, size):
        draw.text((left, at[1]), piece, ink, font, anchor="ls", stroke_width=RIM if edge else 0, stroke_fill=edge)
        left += font.getlength(piece)


def text_width(words: str, size: int) -> float:
    """Return the width of a line in pixels."""
    return float(sum(font.getlength(piece) for font, piece in _pieces(words, size)))


def wrap_text(words: str, size: int, limit: float) -> list[str]:
    """Return lines of at most `limit` pixels, broken at spaces, and inside a word that is longer."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= limit:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size) > limit:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line] or [""]


def missing_letters(words: str) -> str:
    """Return the letters that are drawn as question marks: no font has them, and no ASCII text replaces them."""
    missing = (letter for letter in words if letter.isprintable() and not _font_of(letter, PROBE))
    return "".join(letter for letter in missing if plain(letter) == "?")


def _pieces(words: str, size: int) -> Sequence[tuple[Font, str]]:
    """Return a line in pieces of one font each, without characters that are not printed."""
    printed = [letter for letter in " ".join(words.split()) if letter.isprintable()]
    known = [(font, letter) if (font := _font_of(letter, size)) else (_own(size), plain(letter)) for letter in printed]
    return [
        (font, "".join(letter for _, letter in run)) for font, run in ((f, list(r)) for f, r in groupby(known, _first))
    ]


def _first(pair: tuple[Font, str]) -> Font:
    return pair[0]


@cache
def _font_of(letter: str, size: int) -> Font | None:
    """Return the first font that has a letter, None if no font has it."""
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
