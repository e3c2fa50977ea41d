"""Text from outside, such as an error of a plugin or a value of a header, made fit to be stored and printed."""

import re

LONGEST = 2000
"""Characters that are kept of one text."""
CUT = " […]"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters and marks of writing direction; a terminal obeys the one, and the other reorder what is read."""


def plain(text: str, longest: int = LONGEST) -> str:
    """Return a text on one line, without control characters, of `longest` characters at most."""
    one_line = " ".join(_CONTROL.sub("", text).split("\n")).replace("\t", " ")
    return one_line if len(one_line) <= longest else one_line[: longest - len(CUT)] + CUT
