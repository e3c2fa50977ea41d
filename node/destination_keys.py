"""Checks of the keys of a destination: kinds of objects, and the pattern of a Series Description."""

from typing import Annotated

from pydantic import AfterValidator, Field

from node.profiles import LESSER_REPORTS, STAND_INS, Kind


def template(text: str) -> str:
    """Return a Series Description that names only what the node can fill in."""
    try:
        text.format(kind="", plugin="", version="", title="")
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("it may name {kind}, {plugin}, {version} and {title}, nothing else") from error
    return text


def _composed(kind: Kind) -> Kind:
    if kind in LESSER_REPORTS:
        raise ValueError(f"{kind} is made only of an SR that the destination refuses: name SR")
    return kind


def _stands_in(kind: Kind) -> Kind:
    if kind not in STAND_INS:
        raise ValueError(f"{kind} can stand for no other kind")
    return kind


def unless_profile(kinds: object) -> object:
    """Return None for the word "profile": the kinds are then those of the profile."""
    return None if kinds == "profile" else kinds


Composed = Annotated[tuple[Annotated[Kind, AfterValidator(_composed)], ...], Field(min_length=1)]
StandIns = tuple[Annotated[Kind, AfterValidator(_stands_in)], ...]
