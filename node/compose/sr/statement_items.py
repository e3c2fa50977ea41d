"""Measurements, findings and comparisons as content items of a measurement group (PS3.16 TID 300, TID 1501)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from highdicom import sr
from highdicom.sr import RelationshipTypeValues as Relationship

from node.codes import DCM, SCT, UCUM, Code, own
from node.compose.ascii_text import LO, concept, plain
from node.compose.sr.subjects import Statement
from node.results import Comparison, Finding, Measurement, Presence, Region
from node.results.figures import reported, rounded_with_limits, significant

PRIOR_VALUE = own("PRIOR", "Value in the prior")
PRIOR_AGE = own("PRIOR_AGE", "Time since the prior")
CHANGE = own("CHANGE", "Change since the prior")
CHANGE_PERCENT = own("CHANGE_PERCENT", "Change since the prior in percent")
DOUBLING_TIME = own("DOUBLING_TIME", "Doubling time")
"""Values of a comparison beside the measurement; no public table has codes for them."""

SCORE = own("PRESENCE_SCORE", "Score for presence, 0 to 1")
"""DICOM has Certainty of Finding and Probability, which an uncalibrated score is not."""
INTERVAL_LOW = own("INTERVAL_LOW", "Lower end of the 95 % interval")
INTERVAL_HIGH = own("INTERVAL_HIGH", "Upper end of the 95 % interval")
INDETERMINATE_FROM = own("INDETERMINATE", "Indeterminate from this score on")
SCORE_DIGITS = 2
PRESENCE = {
    Presence.PRESENT: SCT.Present,
    Presence.ABSENT: SCT.Absent,
    Presence.INDETERMINATE: SCT.Indeterminate,
}
AFTER_R_WAVE = own("AFTER_R_WAVE", "Time after the R wave")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContent:
    """The content of one measurement group: numbers, and what is present or absent."""

    measurements: tuple[sr.Measurement, ...] = ()
    evaluations: tuple[sr.QualitativeEvaluation, ...] = ()


def divide_statements(statements: Sequence[Statement]) -> list[GroupContent]:
    """Distribute the statements on a subject among groups: a group has one score, or one comparison."""
    findings = [statement for statement in statements if isinstance(statement, Finding)]
    scored = [finding for finding in findings if finding.score is not None and finding.present]
    in_first = [finding for finding in findings if finding not in scored[1:]]
    measured = [measurement_item(statement) for statement in statements if isinstance(statement, Measurement)]
    first = GroupContent(
        measurements=(*measured, *(score for finding in in_first for score in score_items(finding))),
        evaluations=tuple(presence_item(finding) for finding in in_first),
    )
    further = [
        GroupContent(measurements=tuple(score_items(finding)), evaluations=(presence_item(finding),))
        for finding in scored[1:]
    ]
    compared = [
        GroupContent(measurements=tuple(_comparison_items(statement)))
        for statement in statements
        if isinstance(statement, Comparison)
    ]
    contents = [first, *further, *compared]
    return contents if first.measurements or first.evaluations or len(contents) == 1 else contents[1:]


def measurement_item(result: Measurement) -> sr.Measurement:
    """Return a measurement, with its derivation, its site and the parameters it was derived with."""
    measurement = sr.Measurement(
        name=concept(result.name),
        value=reported(result.value),
        unit=concept(result.unit),
        derivation=concept(result.derivation) if result.derivation else None,
        method=concept(result.method) if result.method else None,
        finding_sites=[finding_site(result.site, result.laterality)] if result.site else None,
    )
    (item,) = measurement
    parameters = [
        _parameter(name, value, unit)
        for name, value, unit in (
            (DCM.PercentileRankingOfMeasurement, result.percentile, UCUM.Percent),
            (AFTER_R_WAVE, result.after_r_wave, UCUM.Millisecond),
        )
        if value is not None
    ]
    if parameters:
        item.ContentSequence = sr.ContentSequence([*item.get("ContentSequence", ()), *parameters])
    return measurement


def _parameter(name: Code, value: float, unit: Code) -> sr.NumContentItem:
    """Return a parameter of a derived value, such as its percentile or its time in the heartbeat (TID 1419 row 13)."""
    return sr.NumContentItem(
        name=concept(name),
        value=value,
        unit=concept(unit),
        relationship_type=Relationship.INFERRED_FROM,
    )


def _comparison_items(result: Comparison) -> Iterator[sr.Measurement]:
    """Yield the measurement, and its differences from the prior."""
    unit = concept(result.measurement.unit)
    yield measurement_item(result.measurement)
    yield sr.Measurement(concept(PRIOR_VALUE), reported(result.prior), unit)
    yield sr.Measurement(concept(PRIOR_AGE), result.days, concept(UCUM.Day))
    yield sr.Measurement(concept(CHANGE), reported(result.change), unit)
    if result.percent is not None:
        yield sr.Measurement(concept(CHANGE_PERCENT), reported(result.percent), concept(UCUM.Percent))
    if result.doubling_days is not None:
        yield sr.Measurement(concept(DOUBLING_TIME), reported(result.doubling_days), concept(UCUM.Day))


def presence_item(finding: Finding) -> sr.QualitativeEvaluation:
    """Return the statement that a finding is present, absent or indeterminate.

    The score of what is not present is below the statement, as what it is inferred from. Among the numbers of the group
    it would be misread: OHIF prints the names of the first three, cuts off what is long, and prints no evaluation, so
    that "Mass, presence" would stand beside an image without a mass.
    """
    evaluation = evaluation_item(finding.name, PRESENCE[finding.presence])
    if finding.score is not None and not finding.present:
        evaluation[0].ContentSequence = sr.ContentSequence([_score_below(finding)])
    return evaluation


def evaluation_item(name: Code, value: Code) -> sr.QualitativeEvaluation:
    """Return a qualitative evaluation."""
    return sr.QualitativeEvaluation(concept(name), concept(value))


def score_items(finding: Finding, *, named: bool = False) -> list[sr.Measurement]:
    """Return the score of a finding that is present, with what it is read by; empty without a score.

    It is read by its threshold, its operating point and its interval. What is not present has its score in
    `presence_item`.

    A calibrated score is Probability (DCM 111047), another is `SCORE`. If it is `named`, it has a concept of its own
    with the name of the finding: it stands in a group with the scores of others, and readers drop modifiers.
    """
    if finding.score is None or not finding.present:
        return []
    name = DCM.Probability if finding.calibrated else SCORE
    if named:
        name = score_of(finding.name, name)
    told = score_in_digits(finding)
    score = sr.Measurement(concept(name), told.score, concept(UCUM.NoUnits))
    (item,) = score
    item.ContentSequence = sr.ContentSequence([*item.get("ContentSequence", ()), *_read_by(finding, told)])
    return [score]


def _score_below(finding: Finding) -> sr.NumContentItem:
    """Return the score that an evaluation is inferred from, with what it is read by."""
    told = score_in_digits(finding)
    score = _parameter(DCM.Probability if finding.calibrated else SCORE, told.score, UCUM.NoUnits)
    score.ContentSequence = sr.ContentSequence([*_read_by(finding, told)])
    return score


def score_of(finding: Code, name: Code) -> Code:
    """Return the concept of the score or probability of one finding: "Mass, presence score 0-1"."""
    key = sha256("|".join((finding.scheme_designator, finding.value, name.value)).encode()).hexdigest()[:8].upper()
    kind = ", presence score 0-1" if name == SCORE else ", probability 0-1"
    return own(f"SCORE_{key}", plain(finding.meaning, LO - len(kind)) + kind)


@dataclass(frozen=True, slots=True)
class ScoreInDigits:
    """A score with its limits, in as few digits as still say whether the finding is present."""

    score: float
    threshold: float
    indeterminate_from: float | None


def score_in_digits(result: Finding | Region) -> ScoreInDigits:
    """Return the numbers of a result with a score as they are told; ValueError without a score."""
    if result.score is None or result.threshold is None:
        raise ValueError(f"{result} has no score")
    limits = [result.threshold]
    if isinstance(result, Finding) and result.indeterminate_from is not None:
        limits.append(result.indeterminate_from)
    score, threshold, *unsure = rounded_with_limits(result.score, *limits, digits=SCORE_DIGITS)
    return ScoreInDigits(score, threshold, unsure[0] if unsure else None)


def _read_by(finding: Finding, told: ScoreInDigits) -> Iterator[sr.NumContentItem]:
    """Yield the numbers that a score is read by."""
    yield _parameter(DCM.ThresholdValue, told.threshold, UCUM.NoUnits)
    if told.indeterminate_from is not None:
        yield _parameter(INDETERMINATE_FROM, told.indeterminate_from, UCUM.NoUnits)
    for name, end in zip((INTERVAL_LOW, INTERVAL_HIGH), finding.interval or (), strict=False):
        yield _parameter(name, significant(end, SCORE_DIGITS), UCUM.NoUnits)
    if (point := finding.operating_point) is not None:
        yield _parameter(DCM.CaseSensitivity, significant(100 * point.sensitivity, SCORE_DIGITS), UCUM.Percent)
        yield _parameter(DCM.CaseSpecificity, significant(100 * point.specificity, SCORE_DIGITS), UCUM.Percent)


def finding_site(site: Code, laterality: Code | None) -> sr.FindingSite:
    """Return a finding site with its side, if it has one."""
    return sr.FindingSite(concept(site), laterality=concept(laterality) if laterality else None)
