"""Text of the node in objects: ASCII, of a length that the value representation allows.

An object keeps the character set of its source images, so that the bytes of the patient's name stay valid. The letters
beyond ASCII that it can hold therefore differ from study to study (PS3.5 section 6.1.2).
"""

import unicodedata

from highdicom.sr import CodedConcept

from node.codes import Code

LO = 64
SH = 16
ST = 1024
"""Greatest number of characters of a value of these value representations (PS3.5 section 6.2)."""

_SPELLED = str.maketrans(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "×": "x",
        "…": "...",
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "µ": "u",
        "μ": "u",
        "≥": ">=",
        "≤": "<=",
        "°": " deg",
        "²": "2",
        "³": "3",
        "\\": "/",
    }
)

_UNSEEN = {"Mn", "Mc", "Me", "Cf"}
"""Unicode categories of accents, and of invisible marks such as a soft hyphen."""


def plain(words: str, limit: int | None = None) -> str:
    """Return text in printable ASCII, at most `limit` characters, without accents; other letters become "?".

    A backslash would separate values and becomes a slash (PS3.5 section 6.2).
    """
    spread = unicodedata.normalize("NFKD", words.translate(_SPELLED))
    letters = (letter for letter in " ".join(spread.split()) if unicodedata.category(letter) not in _UNSEEN)
    written = "".join(letter if " " <= letter <= "~" else "?" for letter in letters)
    return written[:limit].rstrip() if limit else written


def concept(code: Code) -> CodedConcept:
    """Return a code as an item of a code sequence, with its meaning in ASCII and no longer than LO allows."""
    return CodedConcept(code.value, code.scheme_designator, plain(code.meaning, LO) or code.value, code.scheme_version)
