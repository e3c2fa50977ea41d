"""The summary of a case: a sentence for the head of its report and page, and a few words for the list of series."""

from collections.abc import Iterator, Sequence

from node.codes import SCT
from node.compose.ascii_text import plain
from node.compose.case import Case
from node.compose.figures_in_words import derivation_in_words, number_in_words, unit_in_words
from node.results import (
    Comparison,
    DerivedSeries,
    Finding,
    Heatmap,
    Measurement,
    NotSuitable,
    Presence,
    Region,
    Registration,
    Result,
    Segmentation,
    Summary,
)

NORMAL = {SCT.Organ, SCT.Tissue, SCT.AnatomicalStructure, SCT.BodyStructure, SCT.PhysicalObject}
"""Categories of what is there in everybody, or is no part of a body (PS3.16 CID 7150)."""
MOST_NAMES, MOST_NUMBERS = 4, 2
"""Names and measurements that a sentence lists."""
GLANCE, SHORTEST = 37, 10
"""Characters that lists of series show after "AI ", and how many of them at least are left for the title."""


def is_positive(result: Result) -> bool:
    """Return whether a result is something that was found, as in "with findings" (PS3.16 CID 6047).

    That is a finding that is present, and a segment or region that is no normal part of the body. An organ that was
    outlined, a number and a heat map are no findings.
    """
    match result:
        case Finding():
            return bool(result.present) and result.notable
        case Region():
            return result.category not in NORMAL
        case Segmentation():
            return any(True for _ in _shown(result, abnormal=True))
        case _:
            return False


def summary_sentence(case: Case) -> str:
    """Return what a person would write first: the plugin's own summary, else what was found, outlined and measured."""
    if own := case.results_of(Summary):
        return " ".join(summary.text for summary in own)
    if reasons := [result.reason for result in case.results_of(NotSuitable)]:
        return "Not suitable, because " + "; ".join(reasons)
    parts = [*_found(case), *_outlined(case), *_measured(case), *_made(case)]
    return "; ".join(parts) if parts else "Nothing found"


def glance(case: Case) -> str:
    """Return a few words for the list of series: title and result, "CT lung: emphysema 8 %"."""
    title = case.identity.title or case.identity.plugin
    own = [summary.glance for summary in case.results_of(Summary) if summary.glance]
    if own:
        words = own[0]
    elif case.results_of(NotSuitable):
        words = "not suitable"
    else:
        words = _result_at_a_glance(case)
    most = min(GLANCE, case.identity.glance_length)
    room = most - len(words) - 2
    if len(title) > room:
        title = _cut(title.partition(":")[0].partition(",")[0], max(room, 0))
    return plain(f"{title}: {words}" if title else words, most)


def _result_at_a_glance(case: Case) -> str:
    """Return what was found, else a measurement if it fits with its number, else what was outlined or made."""
    room = GLANCE - SHORTEST - 2
    measured = [words for words in _measured(case) if len(words) <= room]
    words = next(iter([*_found(case), *measured, *_outlined(case), *_made(case)]), "nothing found")
    if len(words) > room and (end := next((end for end in (" found", " outlined") if words.endswith(end)), "")):
        words = _cut(words, room - len(end) - 2) + ".." + end
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def _cut(words: str, room: int) -> str:
    """Return words that fit, cut between two of them if that is possible."""
    if len(words) <= room:
        return words
    return (words[: room + 1].rpartition(" ")[0] or words[:room]).rstrip(" ,:")


def _found(case: Case) -> list[str]:
    """Return the names of what is present, and of what is unsure."""
    named = [one.name.meaning for one in case.results_of(Finding) if is_positive(one) and not _of_lesion(one)]
    named += [region.label for region in case.results_of(Region) if is_positive(region)]
    named += [label for result in case.results_of(Segmentation) for label in _shown(result, abnormal=True)]
    unsure = [
        finding.name.meaning
        for finding in case.results_of(Finding)
        if finding.presence is Presence.INDETERMINATE and not _of_lesion(finding)
    ]
    parts = [f"{_listed(named)} found"] if named else []
    parts += [f"{_listed(unsure)} indeterminate"] if unsure else []
    asked = any(finding.notable and not _of_lesion(finding) for finding in case.results_of(Finding)) or any(
        segment.category == SCT.MorphologicallyAbnormalStructure
        for result in case.results_of(Segmentation)
        for segment in result.segments
    )
    return parts or (["Nothing found"] if asked else [])


def _shown(result: Segmentation, *, abnormal: bool) -> Iterator[str]:
    """Yield the labels of the segments that have voxels, of abnormal structures or of all others."""
    for segment, area in zip(result.segments, result.areas, strict=True):
        if (segment.category == SCT.MorphologicallyAbnormalStructure) == abnormal and area.any():
            yield segment.label


def _of_lesion(finding: Finding) -> bool:
    """Return whether a finding says more of a lesion, which has its own name in the summary."""
    return finding.of is not None and finding.of.category not in NORMAL


def _outlined(case: Case) -> list[str]:
    names = [label for result in case.results_of(Segmentation) for label in _shown(result, abnormal=False)]
    return [f"{_listed(names)} outlined"] if names else []


def _measured(case: Case) -> list[str]:
    """Return the first measurements of the images as a whole, else of segments and regions, with their numbers."""
    compared = {id(result.measurement) for result in case.results_of(Comparison)}
    measured = [result for result in case.results_of(Measurement) if id(result) not in compared]
    whole = [result for result in measured if result.of is None]
    return [_in_words(result) for result in (whole or measured)[:MOST_NUMBERS]]


def _in_words(result: Measurement) -> str:
    of = "" if result.of is None else f" of {result.of.label}"
    number = f"{number_in_words(result.value)} {unit_in_words(result.unit)}".rstrip()
    return f"{derivation_in_words(result)}{result.name.meaning}{of} {number}"


def _made(case: Case) -> list[str]:
    made = [f"series made: {result.description}" for result in case.results_of(DerivedSeries)]
    registered = ["prior registered"] if case.results_of(Registration) else []
    maps = [f"heat map: {result.label}" for result in case.results_of(Heatmap)]
    return [*registered, *made, *maps]


def _listed(names: Sequence[str]) -> str:
    """Return names as a list, the first with a capital; of many, how many more there are."""
    once = list(dict.fromkeys(names))
    listed = ", ".join(once[:MOST_NAMES])
    more = len(once) - MOST_NAMES
    listed += f" and {more} more" if more > 0 else ""
    return listed[:1].upper() + listed[1:]
