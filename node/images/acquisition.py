"""How images were acquired, as far as the numbers measured in them depend on it."""

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from node.images.predicates import found

SOFTNESS = (
    (re.compile(r"[A-Z][a-z]?[1-4]\d"), False),  # Siemens: B30f, Br40d
    (re.compile(r"[A-Z][a-z]?[5-9]\d"), True),  # B70f, Bl57
    (re.compile(r"SOFT|STANDARD|STND"), False),  # GE
    (re.compile(r"LUNG|BONE|BONEPLUS|EDGE|ULTRA|DETAIL"), True),
    (re.compile(r"FC[01]\d"), False),  # Canon
    (re.compile(r"FC[3-9]\d"), True),
    (re.compile(r"[AB]$"), False),  # Philips
    (re.compile(r"[DEL]$|Y[ABC]$"), True),
)
"""Names of reconstruction kernels by manufacturer, and whether they are sharp; smooth ones as in the RSNA QIBA Profile
CT Lung Density."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """What a header says of tube voltage (kV), kernel, contrast agent, field strength (T), slice thickness (mm).

    A number is None, and a text empty, if the header does not say it. `contrast` is the name of the agent.
    """

    kilovolts: float | None = None
    tesla: float | None = None
    thickness: float | None = None
    kernel: str = ""
    contrast: str = ""

    @classmethod
    def of(cls, header: Dataset) -> "Acquisition":
        """Return what a header or its shared functional groups say."""
        given = header.get("ContrastBolusAgentSequence")
        return cls(
            kilovolts=_number(header, "KVP"),
            tesla=_number(header, "MagneticFieldStrength"),
            thickness=_number(header, "SliceThickness"),
            kernel=_text(header, "ConvolutionKernel"),
            contrast=_text(header, "ContrastBolusAgent")
            or (str(given[0].get("CodeMeaning") or "agent without a name") if given else ""),
        )

    @property
    def sharp(self) -> bool | None:
        """Whether the kernel is sharp; None if its name is absent or unknown."""
        return next((sharp for name, sharp in SOFTNESS if name.match(self.kernel)), None)

    def in_words(self) -> str:
        """Return what is known in words: "120 kV, slices of 1.25 mm, kernel B70f, contrast medium: iodine"."""
        numbers = ((self.kilovolts, "kV"), (self.tesla, "T"))
        said = [f"{number:g} {unit}" for number, unit in numbers if number is not None]
        if self.thickness is not None:
            said.append(f"slices of {self.thickness:g} mm")
        if self.kilovolts is not None:
            said.append(f"kernel {self.kernel}" if self.kernel else "kernel not stated")
        said.append(f"contrast medium: {self.contrast}" if self.contrast else "no contrast medium stated")
        return ", ".join(said)


def _number(header: Dataset, keyword: str) -> float | None:
    value = found(header, keyword)
    return float(value) if value not in (None, "") else None  # type: ignore[arg-type]


def _text(header: Dataset, keyword: str) -> str:
    value = found(header, keyword)
    if isinstance(value, str):
        return value.strip()
    several = list(value) if value is not None else []  # type: ignore[call-overload]
    return str(several[0]).strip() if several else ""  # Siemens adds the strength of an iterative reconstruction
