"""Where in a plugin an error was raised: the author's own line, not that of the node or of a library."""

import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from node import codes
from node.errors import NodeError
from node.toml_files import meant

MODULES = "isocenter_plugin_"
"""The modules of plugins have names that begin so."""

NO_CODE = re.compile(r"No matching code for keyword '(\w+)' in scheme '(\w+)'")
NO_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def place_of(error: BaseException) -> str:
    """Return file and line of the innermost frame in a plugin's code, "plugin.py, line 12"; empty without one."""
    frames = list(author_frames(error))
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def author_frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    """Yield the frames of a traceback that are in the code of a plugin: in plugin.py, or in its folder."""
    folder = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if str(frame.f_globals.get("__name__", "")).startswith(MODULES):
            folder = str(Path(file).parent)
        if folder and Path(file).is_relative_to(folder):
            yield traceback.FrameSummary(file, line, frame.f_code.co_name)


def sentence_of(error: BaseException) -> str:
    """Return what an error says, with the name that was probably meant where one was misspelt."""
    said = f"{type(error).__name__}: {error}"
    if unknown := NO_CODE.search(said):
        keyword, scheme = unknown.groups()
        return said + meant(keyword, codes.TABLES[scheme].dir() if scheme in codes.TABLES else ())
    if unknown := NO_NAME.search(said):
        name, module = unknown.groups()
        return said + meant(name, getattr(sys.modules.get(module), "__all__", ()))
    if isinstance(error, AttributeError) and error.name:
        return said + meant(error.name, dir(error.obj))
    return said


def author_sentence(error: BaseException) -> str:
    """Return an error of a plugin as its author is told it: an error of the node as it is, any other with its place."""
    if isinstance(error, NodeError):
        return str(error)
    place = place_of(error)
    return sentence_of(error) + (f" ({place})" if place else "")
