"""What the catalogue says of one public model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from node.host import VALIDATED_ON

LENGTHS = {"sha256": 64, "sha1": 40, "md5": 32}
"""Algorithms that publishers give a sum of, and its hexadecimal digits."""
UNKNOWN_SUM = "its publisher states no checksum"
NAMES = re.compile(r"[a-z][a-z0-9_-]*")
PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _web(text: str) -> str:
    if not re.fullmatch(r"https://[^\s/]+(/\S*)?", text):
        raise ValueError(f"{text!r} is no address of a page: https://…")
    return text


Web = Annotated[str, AfterValidator(_web)]


@dataclass(frozen=True, slots=True)
class Checksum:
    """A sum that a publisher states: its algorithm and its digits, or only the first of them."""

    algorithm: str
    digits: str

    @classmethod
    def of(cls, text: str) -> "Checksum":
        """Read `sha256:DIGITS`; ValueError if it is none."""
        algorithm, _, digits = text.partition(":")
        if not 8 <= len(digits) <= LENGTHS.get(algorithm, 0) or not re.fullmatch("[0-9a-f]+", digits):
            raise ValueError(f"{text!r} is no checksum: write sha256:…, sha1:… or md5:…, in small hexadecimal digits")
        return cls(algorithm, digits)

    @property
    def whole(self) -> bool:
        """Whether all digits are stated."""
        return len(self.digits) == LENGTHS[self.algorithm]

    def fits(self, digits: str) -> bool:
        """Return whether a file's sum is this one."""
        return digits.startswith(self.digits)


class Facts(BaseModel):
    """A table of facts; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(Facts):
    """What a model is for, and the page that states it."""

    text: str = Field(min_length=1)
    modality: Literal["CT", "MR", "DX", "MG", "OP", "SM", "ES", "US", "PT"]
    region: str = ""
    source: Web


class Licence(Facts):
    """The licence of the weights, and whether they may be used commercially; "unstated" where no page says."""

    name: str = Field(min_length=1)
    commercial: Literal["yes", "no", "unstated"]
    note: str = ""
    source: Web


class PublishedFigure(Facts):
    """A published figure, and the data that it was measured on."""

    text: str = Field(min_length=1)
    on: str = Field(min_length=1)
    source: Web


class Validation(Facts):
    """The data that exactly these weights were validated on; a plugin made of them is of kind V and names it."""

    on: str = Field(min_length=1, max_length=VALIDATED_ON)
    source: Web


class Stated(Facts):
    """A file, and its checksum where its publisher states one."""

    file: str = Field(min_length=1, pattern=r"^[^/\\\\]+$")
    url: Web | None = None
    checksum: str = ""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if self.checksum:
            Checksum.of(self.checksum)
        return self

    @property
    def stated(self) -> Checksum | None:
        """The checksum that the publisher states, None if there is none."""
        return Checksum.of(self.checksum) if self.checksum else None


class Download(Stated):
    """One file to be downloaded, of which one plugin is made.

    `file` is what it is called in a folder that `--from` names. Without `url` it cannot be downloaded by anybody
    without asking: `how` says what to do. `part` is added to the name of the plugin where there are several files, and
    `beside` are further files that the network needs in the same folder.
    """

    how: str = ""
    part: str = ""
    beside: tuple[Stated, ...] = ()
    source: Web

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.url is None) != bool(self.how):
            raise ValueError("a file has a url, or how says how to come by it")
        return self


class Entry(Facts):
    """One public model.

    Parameters
    ----------
    adapter
        Who reads the file: "monai" a bundle, "nnunet" a results folder, "network" a network that isocenter has written
        out (`network` names it); "none" where isocenter cannot use it yet, and `missing` says why.
    plugin
        What the plugin is called that `model get` makes.
    chain
        Fields of the chain, before those that the model states itself.
    labels
        Names of the classes without background, where the model does not state them.
    tried
        Where it ran with its real weights; empty: it was not tried with them.
    remarks
        What differs from the publisher's own software, each a sentence for the model card.
    """

    name: str
    version: str = Field(min_length=1)
    use: Use
    licence: Licence
    paper: Web | None = None
    figure: tuple[PublishedFigure, ...] = ()
    validated: Validation | None = None
    adapter: Literal["monai", "nnunet", "network", "none"]
    network: str = ""
    missing: str = ""
    plugin: str = ""
    download: tuple[Download, ...] = Field(min_length=1)
    chain: Mapping[str, Any] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    tried: str = ""
    remarks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAMES.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name: small letters, digits, - and _")
        if (self.adapter == "none") != bool(self.missing):
            raise ValueError('adapter "none" needs missing, which says why; no other adapter has it')
        if (self.adapter == "network") != bool(self.network):
            raise ValueError('adapter "network" needs the name of the network; no other adapter has it')
        if self.adapter != "none" and not all(PLUGIN_NAME.fullmatch(name) for name in self.plugins):
            raise ValueError(f"plugin: {', '.join(self.plugins)} are no names of plugins")
        if len(set(self.plugins)) < len(self.download):
            raise ValueError("download: several files need a part each")
        return self

    @property
    def plugins(self) -> tuple[str, ...]:
        """The names of the plugins that are made, one for each file."""
        return tuple("_".join(filter(None, [self.plugin, each.part])) for each in self.download)

    @property
    def text(self) -> str:
        """What a search looks at."""
        words = [self.name, self.use.text, self.use.modality, self.use.region, self.licence.name, *self.labels]
        return " ".join(words).replace("_", " ").lower()
