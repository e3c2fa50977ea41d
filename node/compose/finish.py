"""What every object gets at the end, whoever built it: patient, study, series, equipment, times, its bytes."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ColorSoftcopyPresentationStateStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
)

from node.codes import DCM, OWN_SCHEME
from node.compose.ascii_text import LO, ST, concept, plain
from node.compose.identity import MANUFACTURER, MODEL_NAME, SOFTWARE_VERSIONS, Identity
from node.compose.source_images import carry, copy_element
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

SCANNER = (
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstitutionName",
    "StationName",
)
"""What an image says of the machine that made it (PS3.3 C.7.5.1)."""

WITHOUT_CONTENT_DATE = {
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
}
"""SOP classes that call the date of their content by a name of their own."""


def finish(
    built: Dataset,
    header: Dataset,
    identity: Identity,
    *,
    kind: str,
    number: int,
    modality: str = "",
    series: str = "",
    instance: int = 1,
) -> FileDataset:
    """Return an object as it leaves the node: a series of its own in the study of `header`, Explicit VR Little Endian.

    Parameters
    ----------
    built
        The object with its SOP Class and Instance UID and all that is particular to its kind.
    header
        An image of the study; patient and study attributes and the character set are copied from it.
    kind
        How the series description calls it, and its Modality where that is not given: "SEG", "SR".
    number
        How many series of the job come before it; decides the Series Number.
    series, instance
        For one of several objects of a series: what names the series among those of the job, and its Instance Number.
    """
    done = FileDataset(BytesIO(), {}, file_meta=_file_meta(built), preamble=b"\0" * 128)
    done.update({element.tag: element for element in built})
    done.Modality = modality or kind
    done.SeriesInstanceUID = identity.uid("series", series or done.SOPInstanceUID)
    done.SeriesNumber = identity.first_series_number + number
    done.SeriesDescription = identity.series_description(kind)
    done.InstanceNumber = instance
    _equipment(done, header, identity)
    _times(done, header, identity)
    _coding_schemes(done)
    # last: to look at what it brings is to decode it, and what was decoded may be written with other bytes
    carry(header, done)
    return done


def write(dataset: Dataset, to: Path | BinaryIO) -> None:
    """Write a finished object as a Part 10 file; the same object gives the same bytes (PS3.10 section 7.1)."""
    dataset.save_as(to, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _file_meta(built: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(built.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(built.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def _equipment(done: Dataset, header: Dataset, identity: Identity) -> None:
    """Name the node as the maker (PS3.3 C.7.5.1), scanner and plugin as contributors (C.12.1.5)."""
    done.Manufacturer = MANUFACTURER
    done.ManufacturerModelName = MODEL_NAME
    done.SoftwareVersions = SOFTWARE_VERSIONS
    done.DeviceSerialNumber = identity.device_uid
    done.InstanceCreatorUID = identity.device_uid
    parameters = "; ".join(f"{name}: {value}" for name, value in identity.parameters.items())
    plugin = Dataset()
    plugin.PurposeOfReferenceCodeSequence = [concept(DCM.ProcessingEquipment)]
    plugin.Manufacturer = plain(identity.manufacturer, LO) or MANUFACTURER
    plugin.ManufacturerModelName = identity.algorithm
    plugin.SoftwareVersions = plain(identity.version, LO)
    plugin.ContributionDescription = plain(parameters, ST)
    done.ContributingEquipmentSequence = [*_scanner(header), plugin]


def _scanner(header: Dataset) -> list[Dataset]:
    scanner = Dataset()
    for keyword in SCANNER:
        if header.get(keyword):
            copy_element(header, scanner, keyword)
    if "Manufacturer" not in scanner:
        return []
    scanner.PurposeOfReferenceCodeSequence = [concept(DCM.AcquisitionEquipment)]
    return [scanner]


def _times(done: Dataset, header: Dataset, identity: Identity) -> None:
    date, time = identity.moment(header)
    for name in ("InstanceCreation", "Series", *(() if done.SOPClassUID in WITHOUT_CONTENT_DATE else ("Content",))):
        setattr(done, f"{name}Date", date)
        setattr(done, f"{name}Time", time)


def _coding_schemes(done: Dataset) -> None:
    """Identify the private coding schemes that codes in the object are of (PS3.3 C.12.1.1.7)."""
    schemes = sorted({scheme for scheme in _designators(done) if scheme.startswith("99")})
    if schemes:
        done.CodingSchemeIdentificationSequence = [_scheme(designator) for designator in schemes]


def _designators(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "PerFrameFunctionalGroupsSequence":
            continue  # there are thousands, and none holds a code but those of derivation
        if element.keyword == "CodingSchemeDesignator":
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from _designators(item)


def _scheme(designator: str) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = designator
    if designator == OWN_SCHEME:
        item.CodingSchemeName = "Codes of the isocenter node"
        item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
