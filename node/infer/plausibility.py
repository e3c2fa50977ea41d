"""Check that an answer is plausible in a patient, by plausible.toml beside the plugin.

An answer that is not plausible is not reported.
"""

from collections.abc import Iterator, Mapping, Sequence

from node.host.plausible_table import IMAGES, PHRASES, PlausibleRow, PlausibleTable
from node.images.series import Series
from node.infer.quantities import QUANTITIES_OF_ANSWER, QUANTITIES_OF_SUBJECT, Answer, LabelledValue, joined, label_of
from node.results import NotSuitable, Result
from node.results.figures import in_words

MOST_REPORTED = 3
"""Largest number of implausible values that the reason names."""


def check_plausible(
    table: PlausibleTable, results: tuple[Result, ...], inputs: Mapping[str, Series]
) -> tuple[Result, ...]:
    """Return the results, or `NotSuitable` with the values that are not plausible.

    Raises
    ------
    BrokenResult
        A measurement has another unit than its row.
    """
    if not table.row or any(isinstance(result, NotSuitable) for result in results):
        return results
    answer = Answer(results, inputs)
    faults = [fault for row in table.row for fault in faults_of(row, answer)]
    if not faults:
        return results
    more = f" and {len(faults) - MOST_REPORTED} more" if len(faults) > MOST_REPORTED else ""
    return (NotSuitable(f"the answer is not plausible: {'; '.join(faults[:MOST_REPORTED])}{more}"),)


def faults_of(row: PlausibleRow, answer: Answer) -> Iterator[str]:
    """Yield a sentence for each value that a row does not allow: "Liver has a spread of 300 HU, plausible is …"."""
    yield from (
        f"{sentence(row, answer, of, value)}; plausible is {row.limits}"
        for of, value in values(row, answer)
        if not row.holds(value)
    )


def sentence(row: PlausibleRow, answer: Answer, of: str, value: float) -> str:
    """Return a value in words, such as "Liver has a spread of 300 HU"."""
    if row.quantity is None:
        name = getattr(row.measurement, "meaning", "")
        of, number = f"{name} of {of}" if of else name, f"{in_words(value)} {row.unit}"
        return f"{of} is " + (f"{in_words(value)} times that of {joined(row.per)}" if row.per else number)
    phrase, unit = PHRASES[row.quantity]
    per = joined(row.per)
    if row.per and "{per}" not in phrase:
        return phrase.format(of=of, value=f"{in_words(value)} times that of {per}")
    unit = unit or ("HU" if row.quantity in {"mean", "spread"} and answer.modality == "CT" else "")
    return phrase.format(of=of, value=f"{in_words(value)} {unit}".rstrip(), per=per)


def values(row: PlausibleRow, answer: Answer) -> list[LabelledValue]:
    """Return label and value of everything in an answer that a row has limits for; empty if there is nothing."""
    if row.quantity is not None and row.quantity in QUANTITIES_OF_ANSWER:
        return list(QUANTITIES_OF_ANSWER[row.quantity](answer, row))
    own = list(_plain(row, row.of, answer))
    if row.total and own:
        own = [(joined(row.of), sum(value for _, value in own))]
    if not row.per or row.per == (IMAGES,):
        return own
    other = sum(value for _, value in _plain(row, row.per, answer))
    return [(of, value / other) for of, value in own] if other else []


def _plain(row: PlausibleRow, labels: Sequence[str], answer: Answer) -> Iterator[LabelledValue]:
    if row.quantity is None:
        yield from answer.measured(row, labels)
        return
    for subject in answer.subjects(labels):
        value = QUANTITIES_OF_SUBJECT[row.quantity](subject, row)
        if value is not None:
            yield label_of(subject), value
