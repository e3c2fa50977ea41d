"""Outline raised uptake in an FDG PET, and measure SUV by weight, lean mass and surface, peak, volume and glycolysis.

The reference is the liver. Uptake in the place of brain, heart, kidneys, ureters or bladder is named so, not listed.

If there is a CT in the same frame of reference, also measure the attenuation there: bone, soft tissue, lung or fat.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from node import (
    Caveat,
    Code,
    Finding,
    Measurement,
    NotSuitable,
    Result,
    Segment,
    Segmentation,
    Series,
    Summary,
    Triton,
    UnsuitableSeries,
    Volume,
    codes,
    counted,
)
from node.measuring import mean_attenuation, values_inside

RAISED = codes.own("pt-raised-uptake", "Raised uptake")
OUTSIDE = codes.own("pt-uptake-outside", "Raised uptake outside brain, heart, kidneys, ureters and bladder")
ABOVE = codes.own("pt-volume-above", "Volume above the threshold")
GRAM = Code("g", "UCUM", "gram")
SUV_MEAN = codes.own("SUVBW_MEAN", "SUVbw, mean")
BODY_WEIGHT = (codes.DCM.Suvbw, codes.UCUM.StandardizedUptakeValueBodyWeight)
LEAN = (codes.DCM.SuvlbmJames128, codes.UCUM.StandardizedUptakeValueLeanBodyMassJames128Multiplier)
SUL_PEAK = codes.own("SUL_PEAK", "SUVlbm(James128), peak")
SURFACE = (codes.DCM.Suvbsa, codes.UCUM.StandardizedUptakeValueBodySurfaceArea)
FEWEST_SLICES = 3
SHOWN = 20
"""Uptakes that are outlined one by one; the others are part of the whole."""
DIGITS = 2
PHILIPS_SUV_FACTOR = (0x7053, 0x1000)
FDG = re.compile(r"fdg(?!al)|deoxyglucose|fluoro-d-glucose", re.IGNORECASE)
KILOGRAMS, BECQUEREL, SECONDS, MINUTES = (2.0, 400.0), (5e6, 1.5e9), (6500.0, 6700.0), (20.0, 240.0)
"""What is believed of weight, injected activity, half-life of fluorine-18 (6586 s), and time from injection to images.

EANM asks for 2 to 14 MBq per kg and 60 minutes (Boellaard et al. 2015).
"""
MINUTES_OF_A_DAY = 24 * 60
FAT_HU = (-190.0, -10.0)
"""Of brown fat: BARCIST 1.0 (Chen et al. 2016)."""
LIVER_HU = (40.0, 140.0)
"""Of a liver without steatosis, with or without contrast medium."""
FAT = 6
"""The number of the place that the CT tells, beside those of the model (`pet_places`)."""
NO_TRACER = "the threshold is that of FDG, and the header does not name the radiopharmaceutical"
NO_DEAUVILLE = (
    "No Deauville score: uptake of the blood pool in the mediastinum is not measured, and whether this is a lymphoma "
    "under treatment is not known."
)
PLACES = {
    1: ("Brain", codes.SCT.Brain),
    2: ("Heart", codes.SCT.Heart),
    3: ("Kidneys", codes.SCT.Kidney),
    4: ("Ureters", codes.SCT.Ureter),
    5: ("Bladder", codes.SCT.Bladder),
    FAT: ("Brown fat", codes.SCT.AdiposeTissue),
}
"""Where uptake is physiological."""
NO_LIVER = {
    1: "nothing on the right side has the size, evenness and uptake of a liver",
    2: "what is as even as a liver does not lie in a trunk",
    3: "what is as even as a liver has no lung above it, or too few images reach beyond it",
    4: "more of what is as even as a liver lies on the left than on the right: images or organs are mirrored",
}
MAXIMUM, PEAK, MEAN, ML, ML_ABOVE, MEAN_ABOVE, PLACE, HEIGHT = range(8)
"""Columns of the model's statistics."""


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


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer, and the place of each region: 0 for one that is listed."""

    found: Mapping[str, NDArray[Any]]
    places: NDArray[np.int64]
    volume: Volume

    def mask(self, name: str, numbers: Sequence[int]) -> Volume:
        """Return where an output, "labels" or "above", is one of the numbers."""
        return self.volume.with_array(np.isin(self.found[name], numbers))

    def numbers(self, place: int) -> list[int]:
        """Return the numbers of the regions in a place."""
        return [n for n, at in enumerate(self.places, 1) if at == place]


def run(pt: Series, ct: Series | None, triton: Triton) -> Iterator[Result]:
    """Convert the images to SUV and ask the model for raised uptake; if that is not possible, report why."""
    if len(pt.frames) < FEWEST_SLICES:
        yield NotSuitable(f"{len(pt.frames)} slices have no volume; {FEWEST_SLICES} or more are asked for")
        return
    try:
        _check_tracer(pt.header)
        patient, factor = _patient(pt.header), suv_factor(pt)
    except Unknown as missing:
        yield NotSuitable(str(missing))
        return
    volume = pt.volume()
    suv = volume.with_array(volume.array.astype(np.float32) * np.float32(factor))
    found = triton.infer("pt_lesion", image=suv, affine=volume.affine)
    dense = density(ct, pt)
    if reason := _no_reference(found, volume, dense):
        yield NotSuitable(f"the threshold of PERCIST is that of the liver: {reason}")
        return
    yield Caveat(conditions(pt, patient))
    answer = Answer(found, found["statistics"][:, PLACE].astype(np.int64), volume)
    yield from _reported(Answer(found, _with_fat(answer, dense), volume), patient, dense)


def _no_reference(found: Mapping[str, NDArray[Any]], volume: Volume, dense: Volume | None) -> str:
    """Return why the liver cannot be the reference; empty if it can."""
    outcome = int(found["threshold"][3])
    if outcome:
        return NO_LIVER[outcome]
    if dense is None:
        return ""
    hu = values_inside(volume.with_array(found["reference"]), dense)
    if len(hu) and not LIVER_HU[0] <= float(np.median(hu)) <= LIVER_HU[1]:
        return f"the CT has {np.median(hu):.0f} HU in its place, not {LIVER_HU[0]:.0f} to {LIVER_HU[1]:.0f}"
    return ""


def _with_fat(answer: Answer, dense: Volume | None) -> NDArray[np.int64]:
    """Return the places of the regions, with those above the liver that the CT shows as fat."""
    places = answer.places.copy()
    if dense is None:
        return places
    for number in answer.numbers(0):
        hu = values_inside(answer.mask("labels", [number]), dense)
        above = answer.found["statistics"][number - 1, HEIGHT] > 0
        if above and len(hu) and FAT_HU[0] <= float(np.mean(hu)) <= FAT_HU[1]:
            places[number - 1] = FAT
    return places


def _reported(answer: Answer, patient: Patient, dense: Volume | None) -> Iterator[Result]:
    """Yield the outlines of all regions and of the reference, and the measurements of those that are listed."""
    statistics, listed = answer.found["statistics"], answer.numbers(0)
    yield Finding(name=OUTSIDE, present=bool(listed))
    uptakes = [(_segment(f"Uptake {n}"), answer.mask("labels", [k])) for n, k in enumerate(listed[:SHOWN], 1)]
    whole = _segment("All uptake that is listed")
    everything = [(whole, answer.mask("above", listed))] if listed else []
    taken = {place: at for place in PLACES if (at := answer.numbers(place))}
    organs = [(_organ(place), answer.mask("above", at)) for place, at in taken.items()]
    liver = Segment(label="Liver, reference", type=codes.SCT.Liver, category=codes.SCT.Organ)
    reference = (liver, answer.volume.with_array(answer.found["reference"]))
    segments, masks = zip(*uptakes, *everything, *organs, reference, strict=True)
    yield Segmentation.of_masks(masks, segments)
    for (segment, mask), number in zip(uptakes, listed, strict=False):
        yield from _measured(segment, statistics[number - 1], patient)
        if dense is not None and len(hu := values_inside(mask, dense)):
            yield mean_attenuation(hu, segment)
    if listed:
        yield from _metabolism(*_total(statistics[np.array(listed) - 1]), of=whole)
    for (segment, _), at in zip(organs, taken.values(), strict=True):
        highest = max(float(statistics[number - 1, MAXIMUM]) for number in at)
        yield _suv(BODY_WEIGHT[0], highest, segment, codes.SCT.Maximum)
    threshold, mean = map(float, answer.found["threshold"][:2])
    yield _suv(codes.DCM.ThresholdValue, threshold)
    yield _suv(SUV_MEAN, mean, liver)
    yield _summary(statistics[np.array(listed, int) - 1], threshold)


def _summary(rows: NDArray[np.float64], threshold: float) -> Summary:
    """Say how many regions are listed, and the highest SUV."""
    elsewhere = "outside brain, heart, kidneys, ureters and bladder"
    if not len(rows):
        return Summary(f"No raised uptake (SUV from {threshold:.1f}) {elsewhere}", glance="no raised uptake")
    highest, count = float(rows[:, MAXIMUM].max()), counted(len(rows), "uptake")
    said = f"{count} above SUV {threshold:.1f} {elsewhere}; the highest SUV is {highest:.1f}"
    return Summary(said, glance=f"{count}, SUV {highest:.1f}")


def _total(rows: NDArray[np.float64]) -> tuple[float, float]:
    """Return volume in ml and mean SUV of regions above the threshold."""
    millilitres = float(rows[:, ML_ABOVE].sum())
    return millilitres, float((rows[:, ML_ABOVE] * rows[:, MEAN_ABOVE]).sum()) / millilitres


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


def _organ(place: int) -> Segment:
    name, code = PLACES[place]
    return Segment(label=f"{name}, by its place", type=code, category=codes.SCT.Organ)


def _suv(name: Code, value: float, of: Segment | None = None, derivation: Code | None = None) -> Measurement:
    return Measurement(name=name, value=round(value, DIGITS), unit=BODY_WEIGHT[1], of=of, derivation=derivation)


def _measured(segment: Segment, row: NDArray[np.float64], patient: Patient) -> Iterator[Measurement]:
    highest, peak, mean, millilitres, above = map(float, row[: ML_ABOVE + 1])
    yield _suv(BODY_WEIGHT[0], highest, segment, codes.SCT.Maximum)
    if not math.isnan(peak):
        yield _suv(codes.DCM.PeakValueWithinROI, peak, segment)
    yield _suv(SUV_MEAN, mean, segment)
    lean_kg, surface_cm2 = patient.lean_kg(), patient.surface_cm2()
    if lean_kg and not math.isnan(peak):
        value = round(peak * lean_kg / patient.weight, DIGITS)
        yield Measurement(name=SUL_PEAK, value=value, unit=LEAN[1], of=segment)
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


def _check_tracer(header: Dataset) -> None:
    """Raise Unknown unless the header says that the tracer is FDG."""
    given = _given(header)
    coded = given.get("RadiopharmaceuticalCodeSequence") or ()
    names = [str(given.get("Radiopharmaceutical") or ""), *(str(item.get("CodeMeaning") or "") for item in coded)]
    if not any(FDG.search(name) for name in names):
        name = next(filter(None, names), "")
        raise Unknown(f"the threshold is that of FDG, and the header names {name!r}" if name else NO_TRACER)


def _given(header: Dataset) -> Dataset:
    """Return what the header says about the radiopharmaceutical."""
    items = header.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    first: Dataset = items[0]
    return first


def _patient(header: Dataset) -> Patient:
    weight = float(header.get("PatientWeight") or 0)
    if weight <= 0:
        raise Unknown("the header does not say what the patient weighs, and SUV needs it")
    _believe(weight, KILOGRAMS, "a weight of {:g} kg")
    height = 100 * float(header.get("PatientSize") or 0)
    return Patient(weight=weight, height=height, sex=str(header.get("PatientSex") or ""))


def conditions(pt: Series, patient: Patient) -> str:
    """Return what the SUV depend on, in a sentence: activity, time, weight, and the region that is the reference."""
    given = _given(pt.header)
    said = [f"weight {patient.weight:g} kg"]
    if patient.height:
        said.append(f"height {patient.height:g} cm")
    if dose := float(given.get("RadionuclideTotalDose") or 0):
        said.append(f"{dose / 1e6:.0f} MBq injected")
    try:
        minutes = (_scan_start(pt) - _injection(given, pt.header)).total_seconds() / 60 % MINUTES_OF_A_DAY
        said.append(f"{minutes:.0f} minutes before the images")
    except Unknown:
        said.append("time of injection not stated")
    return f"SUV of FDG: {', '.join(said)}. The reference region is the liver (PERCIST). {NO_DEAUVILLE}"


def _believe(value: float, limits: tuple[float, float], what: str) -> None:
    if not limits[0] <= value <= limits[1]:
        raise Unknown(f"the header has {what.format(value)}, which is not believed; SUV would be wrong with it")


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
    given = _given(header)
    dose, half_life = (float(given.get(keyword) or 0) for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife"))
    if dose <= 0 or half_life <= 0:
        raise Unknown("the header lacks the injected activity or the half-life of the radionuclide")
    _believe(dose, BECQUEREL, "an injected activity of {:g} Bq")
    _believe(half_life, SECONDS, "a half-life of {:g} s")
    correction = str(header.get("DecayCorrection") or "")
    if correction == "ADMIN":
        return dose
    if correction != "START":
        raise Unknown("the images are not corrected for decay")
    scan, injection = _scan_start(pt), _injection(given, header)
    if injection > scan:  # a time without a date: the injection was on the evening before
        injection -= timedelta(days=1)
    seconds = (scan - injection).total_seconds()
    _believe(seconds / 60, MINUTES, "{:.0f} minutes from injection to images")
    return float(dose * 0.5 ** (seconds / half_life))


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
