"""What every object gets at the end: patient, study, series, equipment and times; and how it is written."""

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import config
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
from node.compose.source_images import copy_element, copy_patient_and_study
from node.images.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

SCANNER = (
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstitutionName",
    "StationName",
)
"""Attributes that describe the scanner of an image (PS3.3 C.7.5.1)."""

WITHOUT_CONTENT_DATE = {
    ColorSoftcopyPresentationStateStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
}
"""SOP classes that have an attribute of their own in place of Content Date."""
READ_SIZE = 1 << 20
"""Bytes that pydicom copies at once from a stream of pixels; its own default is 8 KiB."""


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
    """Return a finished object: in a series of its own, in the study of `header`, Explicit VR Little Endian.

    Parameters
    ----------
    built
        The object with its SOP Class UID, its SOP Instance UID and everything that is particular to its kind.
    header
        An image of the study; patient and study attributes and the character set are copied from it.
    kind
        Name of the kind in the series description, and its Modality unless `modality` is given: "SEG", "SR".
    number
        Number of series that the job has before; it decides the Series Number.
    series, instance
        For one of several objects of a series: name of the series among those of the job, and Instance Number.
    """
    done = FileDataset(BytesIO(), {}, file_meta=_file_meta(built), preamble=b"\0" * 128)
    done.update({element.tag: element for element in built})
    done.Modality = modality or kind
    done.SeriesInstanceUID = identity.uid("series", series or done.SOPInstanceUID)
    done.SeriesNumber = identity.first_series_number + number
    done.SeriesDescription = identity.series_description(kind)
    done.InstanceNumber = instance
    if "Rows" in done:
        done.ImageComments = plain(" ".join(identity.notices))
    _equipment(done, header, identity)
    _times(done, header, identity)
    _coding_schemes(done)
    # last: reading what it copies would decode it, and decoded values may be written with other bytes
    copy_patient_and_study(header, done)
    return done


def finish_in_series(
    built: Dataset,
    header: Dataset,
    identity: Identity,
    made: Sequence[Dataset],
    *,
    kind: str,
    series: str,
    modality: str = "",
) -> FileDataset:
    """Return a finished object as the next of a series that several objects of the job share; see `finish`.

    Objects of one series have one frame of reference (PS3.3 C.7.4.1): `series` must name it, or the images it lies on.
    """
    before = [other for other in made if other.SeriesInstanceUID == identity.uid("series", series)]
    number = before[0].SeriesNumber - identity.first_series_number if before else count_series(made)
    return finish(
        built, header, identity, kind=kind, number=number, modality=modality, series=series, instance=1 + len(before)
    )


def count_series(objects: Iterable[Dataset]) -> int:
    """Return the number of series that objects belong to."""
    return len({made.SeriesInstanceUID for made in objects})


def write_object(dataset: Dataset, to: Path | BinaryIO) -> None:
    """Write a finished object as a Part 10 file; the same object gives the same bytes (PS3.10 section 7.1)."""
    config.settings.buffered_read_size = READ_SIZE
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
    """Name the node as the manufacturer (PS3.3 C.7.5.1), scanner and plugin as contributors (C.12.1.5)."""
    done.Manufacturer = MANUFACTURER
    done.ManufacturerModelName = MODEL_NAME
    done.SoftwareVersions = SOFTWARE_VERSIONS
    done.DeviceSerialNumber = identity.device_uid
    done.InstanceCreatorUID = identity.device_uid
    parameters = "; ".join(f"{name}: {value}" for name, value in identity.parameters.items())
    plugin = Dataset()
    plugin.PurposeOfReferenceCodeSequence = [concept(DCM.ProcessingEquipment)]
    plugin.Manufacturer = plain(identity.manufacturer, LO) or MANUFACTURER
    plugin.ManufacturerModelName = plain(identity.title, LO) or plain(identity.plugin, LO)
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
    """Identify the private coding schemes of the codes in the object (PS3.3 C.12.1.1.7)."""
    schemes = sorted({scheme for scheme in _designators(done) if scheme.startswith("99")})
    if schemes:
        done.CodingSchemeIdentificationSequence = [_scheme(designator) for designator in schemes]


def _designators(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "PerFrameFunctionalGroupsSequence":
            continue  # there are thousands of items, and their only codes are those of derivation
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
