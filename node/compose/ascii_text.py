"""Our own words in objects: plain ASCII of a length the value representation allows.

An object keeps the character set of the images it is about, so that the patient's name keeps its bytes; which letters
beyond ASCII such an object could hold differs from study to study (PS3.5 section 6.1.2).
"""

import unicodedata

from highdicom.sr import CodedConcept

from node.codes import Code

LO = 64
SH = 16
ST = 1024
"""Characters that a value of these value representations may have (PS3.5 section 6.2)."""

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
"""Unicode categories of accents, and of marks such as the place where a word may be broken."""


def plain(words: str, limit: int | None = None) -> str:
    """Return words in printable ASCII, at most `limit` characters: accents go, letters of other scripts become "?".

    The backslash separates values in DICOM and becomes a slash (PS3.5 section 6.2).
    """
    spread = unicodedata.normalize("NFKD", words.translate(_SPELLED))
    letters = (letter for letter in " ".join(spread.split()) if unicodedata.category(letter) not in _UNSEEN)
    written = "".join(letter if " " <= letter <= "~" else "?" for letter in letters)
    return written[:limit].rstrip() if limit else written


def concept(code: Code) -> CodedConcept:
    """Return a code as an item of a code sequence, its meaning in ASCII and no longer than LO allows."""
    return CodedConcept(code.value, code.scheme_designator, plain(code.meaning, LO) or code.value, code.scheme_version)
