"""What is stated of images, segments and regions: measurements, findings, comparisons with a prior, key images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node.codes import DCM, Code
from node.images.frame import Frame
from node.results.checks import check_probability
from node.results.region import Region
from node.results.segmentation import Segment


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
    site: Code | None = None
    laterality: Code | None = None

    def __post_init__(self) -> None:
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
    """A finding that is present or absent, with the score of the model, 0 to 1, where it gives a score.

    `calibrated` says that the score may be read as a probability.
    """

    name: Code
    present: bool
    probability: float | None = None
    calibrated: bool = False
    of: Segment | Region | None = None

    def __post_init__(self) -> None:
        check_probability(self.probability, self.name.meaning)


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
