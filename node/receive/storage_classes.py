"""Which SOP classes of Storage the node takes: those of the standard, retired ones, private ones, and unknown ones.

pynetdicom knows the storage classes of the present standard. Old devices still send retired classes, and devices of
some manufacturers send private ones beside their images, often on the same association. A sender that is refused one
presentation context may give up the whole study.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydicom.uid import UID
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, register_uid
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass

StorageClasses = Literal["standard", "known", "any"]
"""`standard`: PS3.4 table B.5-1. `known`: `RETIRED` and `PRIVATE` too. `any`: every private or unknown class too."""

RETIRED: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.3": "Ultrasound Multi-frame Image",
    "1.2.840.10008.5.1.4.1.1.5": "Nuclear Medicine Image",
    "1.2.840.10008.5.1.4.1.1.6": "Ultrasound Image",
    "1.2.840.10008.5.1.4.1.1.8": "Standalone Overlay",
    "1.2.840.10008.5.1.4.1.1.9": "Standalone Curve",
    "1.2.840.10008.5.1.4.1.1.9.1": "Waveform, trial",
    "1.2.840.10008.5.1.4.1.1.10": "Standalone Modality LUT",
    "1.2.840.10008.5.1.4.1.1.11": "Standalone VOI LUT",
    "1.2.840.10008.5.1.4.1.1.12.3": "X-Ray Angiographic Bi-Plane Image",
    "1.2.840.10008.5.1.4.1.1.77.1": "VL Image, trial",
    "1.2.840.10008.5.1.4.1.1.77.2": "VL Multi-frame Image, trial",
    "1.2.840.10008.5.1.4.1.1.88.1": "Text SR, trial",
    "1.2.840.10008.5.1.4.1.1.88.2": "Audio SR, trial",
    "1.2.840.10008.5.1.4.1.1.88.3": "Detail SR, trial",
    "1.2.840.10008.5.1.4.1.1.88.4": "Comprehensive SR, trial",
    "1.2.840.10008.5.1.4.1.1.129": "Standalone PET Curve",
}
"""Retired storage classes of a patient's study (PS3.6 table A-1): SOP Class UID → name."""

PRIVATE: Mapping[str, str] = {
    "1.3.12.2.1107.5.9.1": "Siemens: CSA Non-Image",
    "1.3.12.2.1107.5.99.3.10": "Siemens: CT and MR Volume",
    "1.3.12.2.1107.5.99.3.11": "Siemens: AX Frame Sets",
    "1.3.46.670589.2.3.1.1": "Philips: Specialised XA",
    "1.3.46.670589.2.4.1.1": "Philips: CX Image",
    "1.3.46.670589.2.5.1.1": "Philips: 3D Presentation State",
    "1.3.46.670589.2.8.1.1": "Philips: VRML",
    "1.3.46.670589.2.11.1.1": "Philips: Volume Set",
    "1.3.46.670589.5.0.1": "Philips: Volume, old",
    "1.3.46.670589.5.0.1.1": "Philips: Volume",
    "1.3.46.670589.5.0.2": "Philips: 3D Object, old",
    "1.3.46.670589.5.0.2.1": "Philips: 3D Object",
    "1.3.46.670589.5.0.3": "Philips: Surface, old",
    "1.3.46.670589.5.0.3.1": "Philips: Surface",
    "1.3.46.670589.5.0.4": "Philips: Composite Object",
    "1.3.46.670589.5.0.7": "Philips: MR Cardio Profile",
    "1.3.46.670589.5.0.8": "Philips: MR Cardio, old",
    "1.3.46.670589.5.0.8.1": "Philips: MR Cardio",
    "1.3.46.670589.5.0.9": "Philips: CT Synthetic Image",
    "1.3.46.670589.5.0.10": "Philips: MR Synthetic Image",
    "1.3.46.670589.5.0.11": "Philips: MR Cardio Analysis, old",
    "1.3.46.670589.5.0.11.1": "Philips: MR Cardio Analysis",
    "1.3.46.670589.5.0.12": "Philips: CX Synthetic Image",
    "1.3.46.670589.5.0.13": "Philips: Perfusion",
    "1.3.46.670589.5.0.14": "Philips: Perfusion Image",
    "1.3.46.670589.7.8.1618510091": "Philips: X-Ray MF",
    "1.3.46.670589.7.8.1618510092": "Philips: Live Run",
    "1.3.46.670589.7.8.16185100129": "Philips: Run",
    "1.3.46.670589.7.8.16185100130": "Philips: Reconstruction",
    "1.3.46.670589.11.0.0.12.1": "Philips: MR Spectrum",
    "1.3.46.670589.11.0.0.12.2": "Philips: MR Series Data",
    "1.3.46.670589.11.0.0.12.3": "Philips: MR Color Image",
    "1.3.46.670589.11.0.0.12.4": "Philips: MR Examcard",
    "1.2.840.113543.6.6.1.3.10001": "Philips: Live 3D 01",
    "1.2.840.113543.6.6.1.3.10002": "Philips: Live 3D 02",
    "1.2.840.113619.4.2": "GE: MR Image Info",
    "1.2.840.113619.4.3": "GE: CT Image Info",
    "1.2.840.113619.4.4": "GE: Display Image Info",
    "1.2.840.113619.4.5.249": "GE: RT Plan",
    "1.2.840.113619.4.26": "GE: 3D Model",
    "1.2.840.113619.4.27": "GE: eNTEGRA Protocol",
    "1.2.840.113619.4.30": "GE: PET Raw Data",
    "1.2.528.1.1001.5.1.1.1": "GE: Collage",
    "1.2.392.200036.9116.7.8.1.1.1": "Toshiba: US Image",
    "1.2.392.200036.9125.1.1.2": "Fujifilm: CR Image",
    "1.2.124.113532.3500.7": "Agfa: Basic Attribute Presentation State",
    "1.2.276.0.48.5.1.4.1.1.7": "TomTec: Annotation",
    "2.16.840.1.114033.5.1.4.1.1.130": "PMOD: Multi-frame Image",
}
"""Private storage classes that manufacturers name in their conformance statements: SOP Class UID → name."""

MOST_OTHERS = 256
"""Classes that are not in these tables and are taken by one process, under `any`. A sender may propose 128 at once."""

_STANDARD = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
_registered: set[str] = set()


def storage_contexts(classes: StorageClasses) -> list[PresentationContext]:
    """Return the presentation contexts of Storage that are supported from the start."""
    taken = [*_STANDARD] if classes == "standard" else [*_STANDARD, *RETIRED, *PRIVATE]
    for uid in taken:
        _register(uid)
    return [build_context(uid, ALL_TRANSFER_SYNTAXES) for uid in taken]


def other_contexts(proposed: Iterable[str]) -> list[PresentationContext]:
    """Return contexts for the proposed abstract syntaxes that are private, or that no part of the standard names.

    There are `MOST_OTHERS` of them at most in the life of a process, so that nobody fills its memory.
    """
    others = [uid for uid in dict.fromkeys(proposed) if _is_unknown(uid)]
    known = {*_STANDARD, *RETIRED, *PRIVATE}
    taken = []
    for uid in others:
        if uid in _registered or len(_registered - known) < MOST_OTHERS:
            _register(uid)
            taken.append(build_context(uid, ALL_TRANSFER_SYNTAXES))
    return taken


def _is_unknown(uid: str) -> bool:
    """Return whether a valid UID is none that the standard gives a meaning: Verification, Query, Print …"""
    sop_class = UID(uid)
    return sop_class.is_valid and (sop_class.is_private or sop_class.name == uid)


def _register(uid: str) -> None:
    """Have pynetdicom answer C-STORE requests of a class as it answers those that it knows."""
    if uid not in _registered and uid not in _STANDARD:
        register_uid(uid, f"Storage_{uid.replace('.', '_')}", StorageServiceClass)
    _registered.add(uid)
