"""What is stated of images, segments and regions: measurements, findings, comparisons with a prior, key images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.codes import DCM, Code
from node.images.frame import Frame
from node.results.checks import check_codes, check_score
from node.results.region import Region
from node.results.segmentation import Segment

GLANCE = 25
"""Characters for a summary beside the name of the plugin in a list of series."""


class Presence(StrEnum):
    """Whether a finding is there."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """How often a threshold was right: sensitivity and specificity, 0 to 1, and on what: "16 phantoms of heads"."""

    sensitivity: float
    specificity: float
    on: str

    def __post_init__(self) -> None:
        if not (0 <= self.sensitivity <= 1 and 0 <= self.specificity <= 1 and self.on):
            raise ValueError("an operating point has a sensitivity and a specificity from 0 to 1, and says on what")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyImages:
    """The images that a reader should look at first.

    Parameters
    ----------
    images
        Frames of series that the plugin was given: `[ct.frames[12]]`.
    title
        Why they were chosen (PS3.16 CID 7010): `codes.DCM.OfInterest`.
    description
        A sentence for the reader; may be empty.
    """

    images: Sequence[Frame]
    title: Code = DCM.OfInterest
    description: str = ""

    def __post_init__(self) -> None:
        check_codes(self)
        object.__setattr__(self, "images", tuple(self.images))
        if not self.images:
            raise ValueError("a selection of key images is empty: return no KeyImages where there are none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number with its unit: of a segment or region, or without `of` of the images as a whole.

    Parameters
    ----------
    name
        What was measured: `codes.SCT.Volume`.
    value
        A finite number.
    unit
        UCUM (PS3.16 CID 82): `codes.UCUM.CubicCentimeter`.
    derivation
        How the number was computed from many: `codes.SCT.Mean`.
    percentile
        The value is this percentile of all values, 0 to 100 (PS3.16 TID 1419): 15 for the HU below which 15 % lie.
    after_r_wave
        Time in the heartbeat: ms after the R wave, as in Trigger Time (PS3.3 C.8.3.1).
    method
        How it was measured (PS3.16 TID 300), where several methods give several numbers:
        `codes.DCM.AgatstonScoringMethod`.
    site, laterality
        Where it was measured, if it is not of a segment: `codes.SCT.Lung`, `codes.SCT.Bilateral`.
    """

    name: Code
    value: float
    unit: Code
    of: Segment | Region | None = None
    derivation: Code | None = None
    percentile: float | None = None
    after_r_wave: float | None = None
    method: Code | None = None
    site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
        check_codes(self)
        object.__setattr__(self, "value", float(self.value))
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name.meaning} is {self.value}: a measurement is a finite number")
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ValueError(f"the percentile of {self.name.meaning} is {self.percentile}, outside 0 to 100")
        if self.after_r_wave is not None and not 0 <= self.after_r_wave < math.inf:
            raise ValueError(
                f"{self.name.meaning} is of {self.after_r_wave} ms after the R wave: a time is finite and not negative"
            )
        if self.laterality is not None and self.site is None:
            raise ValueError(f"{self.name.meaning} has a laterality but no site")
        if self.unit.scheme_designator != "UCUM":
            raise ValueError(f"the unit of {self.name.meaning} is of scheme {self.unit.scheme_designator}, not UCUM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding that is present, absent or indeterminate: stated, or by a score and its threshold.

    Parameters
    ----------
    name
        What was looked for: `codes.SCT.PleuralEffusion`.
    present
        Whether it is there. Leave it out where there is a score: the score and the threshold say it.
    score
        The model's number for presence, 0 to 1.
    threshold
        The finding is present from this score on.
    indeterminate_from
        Scores from here to the threshold are indeterminate. Without it, whatever is below the threshold is absent.
    calibrated, interval
        Whether the score may be read as a probability, and its 95 % interval, which a calibrated one needs.
    operating_point
        How often the threshold was right, where that is known.
    of
        The segment or region that it is of.
    notable
        Whether it is a finding if it is present. A frontal view, contrast medium or normal tissue is none.
    """

    name: Code
    present: bool | None = None
    score: float | None = None
    threshold: float | None = None
    indeterminate_from: float | None = None
    calibrated: bool = False
    interval: tuple[float, float] | None = None
    operating_point: OperatingPoint | None = None
    of: Segment | Region | None = None
    notable: bool = True

    def __post_init__(self) -> None:
        check_codes(self)
        name = self.name.meaning
        check_score(self.score, self.threshold, name)
        if self.score is None or self.threshold is None:
            if self.present is None:
                raise ValueError(f"{name} is present or not: give `present`, or a score and its threshold")
            return
        self._check_interval(self.score)
        reached = self.score >= self.threshold
        if self.present not in (None, reached):
            said = "present" if self.present else "absent"
            raise ValueError(f"{name} is said to be {said} with the score {self.score:g}, threshold {self.threshold:g}")
        if self.indeterminate_from is not None and not 0 <= self.indeterminate_from <= self.threshold:
            raise ValueError(f"{name} is indeterminate below its threshold, not from {self.indeterminate_from:g} on")
        object.__setattr__(self, "present", reached)

    def _check_interval(self, score: float) -> None:
        if self.calibrated and self.interval is None:
            raise ValueError(f"{self.name.meaning} has a calibrated probability: give its 95 % interval")
        low, high = self.interval or (score, score)
        if not 0 <= low <= score <= high <= 1:
            raise ValueError(f"{self.name.meaning} has the interval {low:g} to {high:g}, which is not around {score:g}")

    @property
    def presence(self) -> Presence:
        """Present, absent or indeterminate."""
        score, unsure = self.score, self.indeterminate_from
        if self.present:
            return Presence.PRESENT
        if score is not None and unsure is not None and score >= unsure:
            return Presence.INDETERMINATE
        return Presence.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A measurement together with its value in a prior.

    Parameters
    ----------
    measurement
        The present measurement, of a segment or region that keeps its `tracking_uid` of the report on the prior.
    prior
        Value in the prior, in the unit of the measurement.
    days
        Days from the prior to the present images, more than 0.
    """

    measurement: Measurement
    prior: float
    days: float

    def __post_init__(self) -> None:
        name = self.measurement.name.meaning
        if self.measurement.of is None or not self.measurement.of.tracking_uid:
            raise ValueError(
                f"{name} is compared of nothing: set `of` to a segment or region with the prior's tracking_uid"
            )
        if not math.isfinite(self.prior):
            raise ValueError(f"the prior {name} is {self.prior}: a measurement is a finite number")
        if not 0 < self.days < math.inf:
            raise ValueError(f"{name} is compared over {self.days} days: a prior is older than the present images")

    @property
    def change(self) -> float:
        """Present value minus prior value."""
        return self.measurement.value - self.prior

    @property
    def percent(self) -> float | None:
        """Change in percent of the prior value; None where the prior value is 0."""
        return 100 * self.change / abs(self.prior) if self.prior else None

    @property
    def doubling_days(self) -> float | None:
        """Days in which the value doubles at the same growth rate; None where it does not grow.

        Of a volume this is the volume doubling time. A volume grows eightfold while its diameter doubles.
        """
        if not 0 < self.prior < self.measurement.value:
            return None
        return self.days * math.log(2) / math.log(self.measurement.value / self.prior)


@dataclass(frozen=True, slots=True)
class Caveat:
    """What a reader must know to believe the numbers, or why a number is not given, in a sentence of the report.

    "No emphysema index: kernel B70f is sharp, and its noise counts as emphysema."
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("say what a reader must know to believe the numbers")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the results say in one sentence, first in the report: "Lungs outlined; emphysema index 8 %".

    Without it the node makes a sentence of findings and measurements. `glance` is for the list of series: at most 25
    characters, "emphysema 8 %".
    """

    text: str
    glance: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip() or len(self.glance) > GLANCE:
            raise ValueError(f"a summary has a sentence, and at most {GLANCE} characters to be seen at a glance")


@dataclass(frozen=True, slots=True)
class NotSuitable:
    """The images cannot be analysed, because of `reason`. This is a result too, and is reported.

    The reason completes the sentence "not suitable, because …" and is read by a radiologist. If it is not `reported`,
    it stands in the story of the study, and no object is made of it.
    """

    reason: str
    reported: bool = True

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("say why the images are not suitable")
