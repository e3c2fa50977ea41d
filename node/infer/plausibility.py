"""Whether an answer is plausible in a patient, by plausible.toml beside the plugin: what is not, is not reported."""

from collections.abc import Iterator, Mapping, Sequence

from node.host.plausible_table import IMAGES, PHRASES, PlausibleRow, PlausibleTable
from node.images.series import Series
from node.infer.quantities import OF_ANSWER, OF_ONE, Answer, Told, label_of, named
from node.results import NotSuitable, Result
from node.results.figures import in_words

MOST_TOLD = 3
"""At most so many faults are told."""


def judged(table: PlausibleTable, results: tuple[Result, ...], inputs: Mapping[str, Series]) -> tuple[Result, ...]:
    """Return the results, or "not suitable" with what is not plausible in them.

    Raises
    ------
    BrokenResult
        A measurement is in another unit than the table.
    """
    if not table.row or any(isinstance(result, NotSuitable) for result in results):
        return results
    answer = Answer(results, inputs)
    faults = [fault for row in table.row for fault in faults_of(row, answer)]
    if not faults:
        return results
    more = f" and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else ""
    return (NotSuitable(f"the answer is not plausible: {'; '.join(faults[:MOST_TOLD])}{more}"),)


def faults_of(row: PlausibleRow, answer: Answer) -> Iterator[str]:
    """Yield a sentence for each value that a row does not allow: "Liver has a spread of 300 HU, plausible is …"."""
    yield from (
        f"{sentence(row, answer, of, value)}; plausible is {row.limits}"
        for of, value in values(row, answer)
        if not row.holds(value)
    )


def sentence(row: PlausibleRow, answer: Answer, of: str, value: float) -> str:
    """Return a value in words."""
    if row.quantity is None:
        name = getattr(row.measurement, "meaning", "")
        of, number = f"{name} of {of}" if of else name, f"{in_words(value)} {row.unit}"
        return f"{of} is " + (f"{in_words(value)} times that of {named(row.per)}" if row.per else number)
    phrase, unit = PHRASES[row.quantity]
    per = named(row.per)
    if row.per and "{per}" not in phrase:
        return phrase.format(of=of, value=f"{in_words(value)} times that of {per}")
    unit = unit or ("HU" if row.quantity in {"mean", "spread"} and answer.modality == "CT" else "")
    return phrase.format(of=of, value=f"{in_words(value)} {unit}".rstrip(), per=per)


def values(row: PlausibleRow, answer: Answer) -> list[Told]:
    """Return what a row is about in an answer: labels and values; empty if the answer has nothing of it."""
    if row.quantity is not None and row.quantity in OF_ANSWER:
        return list(OF_ANSWER[row.quantity](answer, row))
    own = list(_plain(row, row.of, answer))
    if row.total and own:
        own = [(named(row.of), sum(value for _, value in own))]
    if not row.per or row.per == (IMAGES,):
        return own
    other = sum(value for _, value in _plain(row, row.per, answer))
    return [(of, value / other) for of, value in own] if other else []


def _plain(row: PlausibleRow, labels: Sequence[str], answer: Answer) -> Iterator[Told]:
    if row.quantity is None:
        yield from answer.measured(row, labels)
        return
    for one in answer.subjects(labels):
        value = OF_ONE[row.quantity](one, row)
        if value is not None:
            yield label_of(one), value
