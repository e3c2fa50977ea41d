"""Find images that are not clinical, by their header. No route gets them, unless its own conditions name the value.

The guards of the plugins find those that only pixels show, such as a water phantom.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from node.images.predicates import Condition, found, shown
from node.images.series import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class NotClinical:
    """A kind of image that no plugin is asked about.

    Parameters
    ----------
    keyword, value
        The attribute, and a regular expression that is found in its value.
    means
        What the image is, for "not a clinical image but …".
    clause
        Where the standard defines the attribute or its value.
    modalities
        The modalities for which the value means this; empty for all.
    """

    keyword: str
    value: str
    means: str
    clause: str
    modalities: tuple[str, ...] = ()

    def matching_value(self, series: Series) -> str | None:
        """Return the value by which a stack is of this kind; None if it is not."""
        if self.modalities and series.modality not in self.modalities:
            return None
        value = shown(found(series.header, self.keyword) or "")
        return value if value and re.search(self.value, value) else None

    def is_asked_for_by(self, when: Mapping[str, Condition]) -> bool:
        """Return whether the conditions of a route name this value, so that the route gets such images.

        The condition "Image Type contains ORIGINAL" does not name "LOCALIZER".
        """
        condition = when.get(self.keyword)
        if condition is None:
            return False
        texts = (condition.equal, *(condition.any_of or ()), condition.matches, condition.contains)
        return any(re.search(self.value, str(text)) for text in texts if text is not None)


LOCALIZERS = r"(?i)locali[sz]er|scout|topogram|surview|scano|3.?plane|(?<![a-z])(loc|pilot|survey)(?![a-z])"
SECONDARY_CAPTURE = r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\.[1-4])?$"
TABLE = (
    NotClinical(
        keyword="QualityControlImage",
        value="^YES$",
        means="an image for quality control",
        clause="PS3.3 C.7.6.1",
    ),
    NotClinical(
        keyword="QualityControlSubject",
        value="^YES$",
        means="an image of a quality control phantom",
        clause="PS3.3 C.7.1.1",
    ),
    NotClinical(
        keyword="PatientSpeciesDescription",
        value=r"(?i)^(?!\s*(homo sapiens|human)\s*$)",
        means="an image of an animal",
        clause="PS3.3 C.7.1.1",
    ),
    NotClinical(
        keyword="ImageType",
        value=r"\bLOCALIZER\b",
        means="a localizer",
        clause="PS3.3 C.8.2.1.1.1 and C.8.16.1.3",
    ),
    NotClinical(
        keyword="AcquisitionType",
        value="^CONSTANT_ANGLE$",
        means="a localizer",
        clause="PS3.3 C.8.15.3.2",
    ),
    NotClinical(
        keyword="SeriesDescription",
        value=LOCALIZERS,
        means="a localizer by its description",
        clause="PS3.3 C.7.3.1",
        modalities=("CT", "MR", "PT"),
    ),
    NotClinical(
        keyword="ImageType",
        value=r"SCREEN.?SAVE|\bPROT\b|DOSE[ _](INFO|REPORT)",
        means="a page of a dose report or protocol",
        clause="PS3.3 C.7.6.1.1.2, values of manufacturers",
    ),
    NotClinical(
        keyword="SeriesDescription",
        value=r"(?i)dose.?(report|info|record|sheet|summary)|patient protocol|screen.?(save|shot)",
        means="a page of a dose report or protocol by its description",
        clause="PS3.3 C.7.3.1",
    ),
    NotClinical(
        keyword="SeriesDescription",
        value=r"(?i)calibration|\bQ[AC]\b|quality (control|assurance)",
        means="a scan for calibration or quality control by its description",
        clause="PS3.3 C.7.3.1",
        modalities=("CT", "MR", "PT"),
    ),
    NotClinical(
        keyword="SOPClassUID",
        value=SECONDARY_CAPTURE,
        means="a secondary capture",
        clause="PS3.3 A.8",
    ),
    NotClinical(
        keyword="ConversionType",
        value="^(SD|DRW)$",
        means="a scanned document or a drawing",
        clause="PS3.3 C.8.6.1",
    ),
    NotClinical(
        keyword="ImageType",
        value=r"\b(LABEL|OVERVIEW)\b",
        means="the label of a slide, or an overview with it",
        clause="PS3.3 C.8.12.4.1.1",
        modalities=("SM",),
    ),
)
"""The kinds of images that are not clinical. The first row that fits a stack gives the reason."""


def set_aside(when: Mapping[str, Condition], series: Series) -> str | None:
    """Return why a stack is not a clinical image; None if it may be, or if the conditions name the value."""
    for row in TABLE:
        value = row.matching_value(series)
        if value is not None and not row.is_asked_for_by(when):
            match = re.search(row.value, value)
            words = (match and match[0]) or value
            condition = f'"{value}"' if words == value else f'{{ matches = "{words}" }}'
            return (
                f"not a clinical image but {row.means}: {row.keyword} is {value} ({row.clause}); "
                f"a route asks for it by when.{row.keyword} = {condition}"
            )
    return None
