"""Outline raised uptake in a PET, and measure SUV by weight, lean mass and surface, peak, volume and glycolysis.

If there is a CT in the same frame of reference, also measure the attenuation there: bone, soft tissue, lung or fat.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from node import (
    Code,
    Finding,
    Measurement,
    NotSuitable,
    Result,
    Segment,
    Segmentation,
    Series,
    Triton,
    UnsuitableSeries,
    Volume,
    codes,
)
from node.measuring import mean_attenuation, values_inside

RAISED = codes.own("pt-raised-uptake", "Raised uptake")
ABOVE = codes.own("pt-volume-above", "Volume above the threshold")
GRAM = Code("g", "UCUM", "gram")
BODY_WEIGHT = (codes.DCM.Suvbw, codes.UCUM.StandardizedUptakeValueBodyWeight)
LEAN = (codes.DCM.SuvlbmJames128, codes.UCUM.StandardizedUptakeValueLeanBodyMassJames128Multiplier)
SURFACE = (codes.DCM.Suvbsa, codes.UCUM.StandardizedUptakeValueBodySurfaceArea)
FEWEST_SLICES = 3
DIGITS = 2
PHILIPS_SUV_FACTOR = (0x7053, 0x1000)


class Unknown(Exception):
    """The header lacks what SUV needs; the message completes "not suitable, because …"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Weight in kg, height in cm (0 if unknown), sex M, F or another letter."""

    weight: float
    height: float
    sex: str

    def lean_kg(self) -> float | None:
        """Lean body mass by James, with 128 for men."""
        ratio = (self.weight / self.height) ** 2 if self.height else 0
        masses = {"M": 1.10 * self.weight - 128 * ratio, "F": 1.07 * self.weight - 148 * ratio}
        return masses.get(self.sex) if self.height else None

    def surface_cm2(self) -> float | None:
        """Body surface by Du Bois and Du Bois."""
        return 71.84 * self.weight**0.425 * self.height**0.725 if self.height else None


def run(pt: Series, ct: Series | None, triton: Triton) -> Iterator[Result]:
    """Convert the images to SUV and ask the model for raised uptake; if that is not possible, report why."""
    if len(pt.frames) < FEWEST_SLICES:
        yield NotSuitable(f"{len(pt.frames)} slices have no volume; {FEWEST_SLICES} or more are asked for")
        return
    try:
        patient, factor = _patient(pt.header), suv_factor(pt)
    except Unknown as missing:
        yield NotSuitable(str(missing))
        return
    volume = pt.volume()
    suv = volume.with_array(volume.array.astype(np.float32) * np.float32(factor))
    answer = triton.infer("pt_lesion", image=suv, affine=volume.affine)
    count = len(answer["statistics"])
    yield Finding(name=RAISED, present=count > 0)
    if count:
        uptakes = [_segment(f"Uptake {n}") for n in range(1, count + 1)]
        whole = _segment("All above the threshold")
        masks = [volume.with_array(answer["labels"] == n) for n in range(1, count + 1)]
        masks.append(volume.with_array(answer["above"] > 0))
        yield Segmentation.of_masks(masks, [*uptakes, whole])
        dense = density(ct, pt)
        for segment, row, mask in zip(uptakes, answer["statistics"], masks[:-1], strict=True):
            yield from _measured(segment, row, patient)
            if dense is not None and len(hu := values_inside(mask, dense)):
                yield mean_attenuation(hu, segment)
        yield from _metabolism(*answer["total"][:2], of=whole)
    threshold, liver, _ = answer["threshold"]
    yield _suv(codes.DCM.ThresholdValue, threshold)
    if not math.isnan(liver):
        name, unit = BODY_WEIGHT
        yield Measurement(
            name=name, value=round(liver, DIGITS), unit=unit, derivation=codes.SCT.Mean, site=codes.SCT.Liver
        )


def density(ct: Series | None, pt: Series) -> Volume | None:
    """Return the CT in HU; None if there is no CT, or it has no volume or another frame of reference."""
    if ct is None or not pt.frame_of_reference_uid or ct.frame_of_reference_uid != pt.frame_of_reference_uid:
        return None
    try:
        return ct.volume()
    except UnsuitableSeries:
        return None


def _segment(label: str) -> Segment:
    return Segment(label=label, type=RAISED, category=codes.SCT.MorphologicallyAbnormalStructure)


def _suv(name: Code, value: float, of: Segment | None = None, derivation: Code | None = None) -> Measurement:
    return Measurement(name=name, value=round(value, DIGITS), unit=BODY_WEIGHT[1], of=of, derivation=derivation)


def _measured(segment: Segment, row: NDArray[np.float64], patient: Patient) -> Iterator[Measurement]:
    highest, peak, mean, millilitres, above = map(float, row)
    yield _suv(BODY_WEIGHT[0], highest, segment, codes.SCT.Maximum)
    if not math.isnan(peak):
        yield _suv(codes.DCM.PeakValueWithinROI, peak, segment)
    yield _suv(BODY_WEIGHT[0], mean, segment, codes.SCT.Mean)
    lean_kg, surface_cm2 = patient.lean_kg(), patient.surface_cm2()
    # SUVbw counts the weight in g, SUVbsa the surface in cm²: 1000 converts kg to g.
    for (name, unit), scale in ((LEAN, lean_kg), (SURFACE, surface_cm2 and surface_cm2 / 1000)):
        if scale:
            value = round(highest * scale / patient.weight, DIGITS)
            yield Measurement(name=name, value=value, unit=unit, of=segment, derivation=codes.SCT.Maximum)
    yield from _metabolism(millilitres, mean, of=segment)
    yield Measurement(name=ABOVE, value=round(above, DIGITS), unit=codes.UCUM.CubicCentimeter, of=segment)


def _metabolism(millilitres: float, mean: float, *, of: Segment) -> Iterator[Measurement]:
    """Yield the metabolic volume, and its product with the mean SUV."""
    unit = codes.UCUM.CubicCentimeter
    yield Measurement(name=codes.DCM.MetabolicVolume, value=round(millilitres, DIGITS), unit=unit, of=of)
    yield Measurement(name=codes.DCM.TotalLesionGlycolysis, value=round(millilitres * mean, DIGITS), unit=GRAM, of=of)


def _patient(header: Dataset) -> Patient:
    weight = float(header.get("PatientWeight") or 0)
    if weight <= 0:
        raise Unknown("the header does not say what the patient weighs, and SUV needs it")
    height = 100 * float(header.get("PatientSize") or 0)
    return Patient(weight=weight, height=height, sex=str(header.get("PatientSex") or ""))


def suv_factor(pt: Series) -> float:
    """Return the factor from the values of the images to SUV by body weight (PS3.3 C.8.9.1, as QIBA calculates it).

    Raises
    ------
    Unknown
        The images are not corrected for attenuation and decay, or the header lacks dose, half-life or times.
    """
    header = pt.header
    units = str(header.get("Units") or "")
    if "ATTN" not in (header.get("CorrectedImage") or ()):
        raise Unknown("the images are not corrected for attenuation, so that their values are no activity")
    if units == "GML" and str(header.get("SUVType") or "BW") == "BW":
        return 1.0
    if units == "CNTS" and PHILIPS_SUV_FACTOR in header:
        return float(header[PHILIPS_SUV_FACTOR].value)
    if units != "BQML":
        raise Unknown(f"the images are in {units or 'unknown units'}, not in Bq/ml")
    return 1000 * _patient(header).weight / _activity(pt)


def _activity(pt: Series) -> float:
    """Return the injected activity in Bq at the time to which the images are decay-corrected."""
    header = pt.header
    given = (header.get("RadiopharmaceuticalInformationSequence") or [Dataset()])[0]
    dose, half_life = (float(given.get(keyword) or 0) for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"))
    if dose <= 0 or half_life <= 0:
        raise Unknown("the header lacks the injected activity or the half-life of the radionuclide")
    correction = str(header.get("DecayCorrection") or "")
    if correction == "ADMIN":
        return dose
    if correction != "START":
        raise Unknown("the images are not corrected for decay")
    scan, injection = _scan_start(pt), _injection(given, header)
    if injection > scan:  # a time without a date: the injection was on the evening before
        injection -= timedelta(days=1)
    return float(dose * 0.5 ** ((scan - injection).total_seconds() / half_life))


def _scan_start(pt: Series) -> datetime:
    """Return Series Date and Time, or the first acquisition if that is earlier: the series was reconstructed later."""
    acquired = min(_moment(header, "AcquisitionDate", "AcquisitionTime") for header in pt.headers)
    series = _moment(pt.header, "SeriesDate", "SeriesTime")
    return min(series, acquired)


def _injection(given: Dataset, header: Dataset) -> datetime:
    if start := given.get("RadiopharmaceuticalStartDateTime"):
        return _parsed(str(start)[:8], str(start)[8:14])
    return _parsed(str(header.get("SeriesDate") or ""), str(given.get("RadiopharmaceuticalStartTime") or ""))


def _moment(header: Mapping[str, Any] | Dataset, date: str, time: str) -> datetime:
    return _parsed(str(header.get(date) or ""), str(header.get(time) or ""))


def _parsed(date: str, time: str) -> datetime:
    try:
        day, hour = DA(date), TM(time)
    except ValueError as error:
        raise Unknown("the time of the injection or of the images is none") from error
    if day is None or hour is None:
        raise Unknown("the header lacks the time of the injection or of the images")
    return datetime.combine(day, hour)
