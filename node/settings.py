"""The settings in config/isocenter.toml: every key has a default, an unknown key is an error.

An environment variable overrides the file: ISOCENTER_RECEIVE__ADDRESS for `address` under `[receive]`. Its value is
read as TOML, or as text if it is not TOML. Paths in the file are relative to it.
"""

import ctypes
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from node.destination_keys import Composed, StandIns, template, unless_profile
from node.errors import ConfigError
from node.profiles import FIRST_SERIES_NUMBER, PROFILES, Profile, TransferSyntax
from node.records import Address
from node.tls_settings import DestinationTls, ReceiveTls, at
from node.toml_files import Table, first_fault, load_toml
from node.web_settings import WebSettings

PREFIX = "ISOCENTER_"
PACKAGE = Path(__file__).resolve().parents[1]
"""Where the plugins and models that come with isocenter lie: beside the package, in a checkout and when installed."""
SQLITE, SQLITE_FILES = "sqlite:///", ("", "-wal", "-shm", "-journal")
"""How the URL of such a ledger begins, and what the names of its files end in."""
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""All interfaces, and the loopback interface of the same protocol."""


def _address(value: object) -> Address:
    try:
        return value if isinstance(value, Address) else Address.parse(str(value))
    except ConfigError as error:
        raise ValueError(str(error)) from error


AddressText = Annotated[Address, PlainValidator(_address), PlainSerializer(str)]


def _caller(text: str) -> str:
    if "@" not in text:
        raise ValueError(f"{text!r} is not of the form AE@host, *@host or AE@network/bits")
    return text


class Receive(Table):
    """The Storage SCP: its address, and who may call it."""

    address: AddressText = Address("ISOCENTER", "0.0.0.0", 11112)  # noqa: S104 (others reach it only if accept_from says so)
    """AE title, interface and port that the node listens on."""
    accept_from: tuple[Annotated[str, AfterValidator(_caller)], ...] = ()
    """Who may call: `CT1@10.0.0.11`, `*@10.0.0.0/24`. Empty: only this machine, and the node listens on loopback."""
    commitment_to: tuple[AddressText, ...] = ()
    """Where senders listen for Storage Commitment reports: `CT1@10.0.0.11:104`. A sender that is not named gets its
    report on the association it asked on, or none."""
    processes: int = Field(default=2, ge=1)
    """Receiver processes, which share the port. Associations run on that many cores. Each process takes 80 MB."""
    associations: int = Field(default=50, ge=1)
    """The most associations at once, in each receiver process."""
    sender_associations: int = Field(default=0, ge=0)
    """The most of them from one address. 0: no limit of its own."""
    idle_seconds: float = Field(default=60, gt=0)
    """An association that is silent for so long is ended."""
    storage_classes: Literal["standard", "known", "any"] = "known"
    """Which SOP classes are taken: those of the `standard`, also the `known` retired and private ones, or `any`."""
    durability: Literal["power", "process"] = "power"
    """What Success promises: `power` or `process`. See docs/promises.md."""
    decoders: int = Field(default=1, ge=0)
    """Processes that decode compressed images while others of their study arrive, whenever nothing else wants the
    processor. 0: each job decodes its own images."""
    decoded_mb: int = Field(default=2048, ge=0)
    """Disk space in the spool for decoded images, until the jobs of their study are done. Never more than stays free
    beyond `spool.free_mark_mb`."""
    tls: ReceiveTls | None = None
    """TLS, where this table is there."""

    @property
    def tls_listening(self) -> Address | None:
        """Where the node listens for TLS beside its plain port, or None."""
        return replace(self.listening, port=self.tls.port) if self.tls and self.tls.port else None

    @property
    def listening(self) -> Address:
        """Where the node listens: at its address, or on loopback where that is all interfaces and nobody may call."""
        address = self.address
        return address if self.accept_from else replace(address, host=LOOPBACK.get(address.host, address.host))


class Assemble(Table):
    """When a study is stable."""

    quiet_seconds: float = Field(default=10, ge=0)
    """A study is stable when no instance came for so long, or sooner by a route's evidence."""


class SpoolSettings(Table):
    """Where received instances and composed objects are."""

    path: Path = Path("/var/lib/isocenter/spool")
    """Folder of received instances and composed objects."""
    free_mark_mb: int = Field(default=1024, ge=0)
    """With less free space, instances are refused with 0xA700 and the sender keeps them."""
    keep_days: float = Field(default=7, ge=0)
    """A study that has been finished for so long is purged."""


class LedgerSettings(Table):
    """Where the rows are kept."""

    url: str = "sqlite:////var/lib/isocenter/ledger.db"
    """The database. `postgresql://user:password@host/name`, an empty database, lets several machines share it."""
    keep_days: float = Field(default=365, ge=0)
    """How long the story of a study is kept after the study was purged: events, refusals, why a route matched."""


class EngineSettings(Table):
    """How jobs are announced, how many run at once, how often a job is tried, and how long a stop may take."""

    kind: Literal["local", "procrastinate"] = "local"
    """What announces due jobs to workers: `local`, within a process; `procrastinate`, across machines."""
    slots: int = Field(default=2, ge=1)
    """Jobs that may ask models at once. As many more may be composing their objects at the same time."""
    attempts: int = Field(default=5, ge=1)
    """How often a job is tried whose process dies."""
    volumes_mb: int = Field(default=2048, ge=0)
    """Memory in `/dev/shm` for the volumes of all jobs together, which a Triton on this machine reads directly. A job
    that finds no space waits. 0: none; arrays travel by gRPC."""
    job_memory_mb: int = Field(default=4096, ge=256)
    """Memory that one job may allocate, beside 48 times the size of its volumes. A job that needs more is parked."""
    stop_seconds: float = Field(default=20, ge=0)
    """How long open associations and running jobs may take to end at SIGTERM."""


class TritonSettings(Table):
    """Where Triton answers; "local" starts the server from the wheel."""

    urls: tuple[str, ...] = Field(default=("local",), min_length=1)
    """Triton servers: `local` starts the server from its wheel; else `host:port`, several allowed."""
    model_repository: Path = Path("../triton_models")
    """Model repository of the local server. With servers elsewhere that have the same models, the sizes of models are
    read from it."""
    included_models: bool = False
    """Whether the models that come with isocenter are found, too. One of its name in `model_repository` replaces it."""
    deadline_seconds: float = Field(default=120, gt=0)
    """Time limit of one answer. As much again is added for each job that is ahead at the same instance of a model."""
    models_mb: int = Field(default=16384, ge=0)
    """Memory for the models of a server, counted as the size of their files and 200 MB for each process of the Python
    backend. 0: no limit."""

    @property
    def included(self) -> tuple[Path, ...]:
        """The repository of the models that come with isocenter, if they are to be found."""
        return (PACKAGE / "triton_models",) if self.included_models else ()


class Destination(Table):
    """An application entity that results are sent to by C-STORE, and how its profile is to be changed."""

    address: AddressText
    """AE title, host and port that results are sent to: `PACS@10.0.0.5:104`."""
    calling: str = Field(default="", max_length=16)
    """The AE title that the node calls as. Empty: that of `receive.address`."""
    timeout_seconds: float = Field(default=30, gt=0)
    """Time limit of an association request and of each answer."""
    give_up_days: float = Field(default=7, gt=0)
    """An object that could not be stored for so long is parked."""
    test: bool = False
    """Not used for patient care. A route with `allow_demonstration` sends to such destinations only."""
    commitment: bool = False
    """Whether the destination is asked to commit to what it stored (Storage Commitment). It must then be in
    `receive.accept_from`."""
    profile: Literal["orthanc", "dcm4chee", "ohif", "weasis", "plain-pacs"] = "orthanc"
    """What the destination is sent: `orthanc`, `dcm4chee`, `ohif`, `weasis` or `plain-pacs`. See
    docs/reference/objects.md."""
    objects: Annotated[Composed | None, BeforeValidator(unless_profile)] = None
    """Kinds of object, in place of those of the profile: `["SEG", "SR"]`."""
    fallback: Annotated[StandIns | None, BeforeValidator(unless_profile)] = None
    """Kinds that may replace what it refuses by SOP class, in place of those of the profile. `[]`: none."""
    transfer_syntax: TransferSyntax = "explicit"
    """How objects are encoded, if it accepts that: `explicit`, `implicit` (VR Little Endian) or `deflated`."""
    most_frames: int = Field(default=0, ge=0)
    """A Segmentation with more frames is divided into several. 0: no limit."""
    first_series_number: int = Field(default=FIRST_SERIES_NUMBER, ge=1, le=2**31 - 100_000)
    """Series Numbers of results begin here."""
    series_description: Annotated[str, AfterValidator(template)] = ""
    """Series Description of results, such as `AI {kind} {plugin}`, also `{version}` and `{title}`. Empty: the node's
    own text."""
    tls: DestinationTls | None = None
    """TLS, where this table is there."""

    @property
    def peer(self) -> Address:
        """Its address, with what is needed to call it by TLS."""
        return replace(self.address, tls=self.tls.credentials if self.tls else None)

    @property
    def wants(self) -> Profile:
        """What the destination is sent: its profile, with the keys that are set here."""
        profile = PROFILES[self.profile]
        return Profile(
            objects=self.objects or profile.objects,
            fallback=profile.fallback if self.fallback is None else self.fallback,
            transfer_syntax=self.transfer_syntax,
            most_frames=self.most_frames or None,
            first_series_number=self.first_series_number,
            series_description=self.series_description,
        )


class LogSettings(Table):
    """The log, on stderr: one line for each event, with UIDs and never a name."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged. `debug` adds a line for each instance that came again or changed."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text in a terminal, and elsewhere JSON, one object on a line."""


class PriorsSettings(Table):
    """The destination that is asked for earlier studies, and how long a job waits for them."""

    ask: str = ""
    """The destination that is asked for earlier studies by C-FIND and C-MOVE. Empty: only studies here are used."""
    seconds: float = Field(default=30, gt=0, le=600)
    """How long a job waits for a prior. Then it goes on without it."""


class Settings(Table):
    """All of config/isocenter.toml."""

    device_uid: str = Field(default="", max_length=64, pattern=r"^((0|[1-9]\d*)(\.(0|[1-9]\d*))+)?$")
    """The UID that names the node in its objects, and that their UIDs are derived from. Empty: the one that was made
    with the ledger. A node on a copy of another node's ledger needs its own."""
    routes: Path = Path("routes.toml")
    """The file with the routes."""
    plugins: tuple[Path, ...] = (Path("../plugins"),)
    """Folders of plugins, beside the installed entry points `isocenter.plugins`."""
    included_plugins: bool = False
    """Whether the plugins that come with isocenter are found, too. One of the same name in `plugins` replaces it."""
    receive: Receive = Field(default_factory=Receive)
    assemble: Assemble = Field(default_factory=Assemble)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    triton: TritonSettings = Field(default_factory=TritonSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    priors: PriorsSettings = Field(default_factory=PriorsSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    destinations: dict[str, Destination] = Field(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _asks_a_destination(self) -> "Settings":
        if self.priors.ask and self.priors.ask not in self.destinations:
            there = ", ".join(sorted(self.destinations)) or "none"
            raise ValueError(f"priors.ask names the destination {self.priors.ask!r}; there are: {there}")
        return self

    @property
    def plugin_folders(self) -> tuple[Path, ...]:
        """The folders of plugins, with that of the plugins that come with isocenter if they are to be found."""
        return (*self.plugins, *([PACKAGE / "plugins"] if self.included_plugins else []))

    @property
    def private_files(self) -> tuple[Path, ...]:
        """The files that no guest may read: the configuration, which may hold a password, and a ledger of SQLite."""
        ledger = self.ledger.url.partition(SQLITE)[2]
        beside = [Path(f"{ledger}{end}") for end in SQLITE_FILES] if ledger else []
        return (*([self._file] if self._file else []), *beside, *self.private_keys)

    @property
    def private_keys(self) -> tuple[Path, ...]:
        """The files of private keys for TLS."""
        return tuple(tls.key for tls in self._tls if tls.key is not None)

    @property
    def certificates(self) -> tuple[Path, ...]:
        """The files of the node's own certificates."""
        return tuple(dict.fromkeys(tls.certificate for tls in self._tls if tls.certificate is not None))

    @property
    def _tls(self) -> list[ReceiveTls | DestinationTls]:
        tables = (self.receive.tls, *(destination.tls for destination in self.destinations.values()))
        return [tls for tls in tables if tls is not None]

    @property
    def profiles(self) -> dict[str, Profile]:
        """What each destination is sent, by its name."""
        return {name: destination.wants for name, destination in self.destinations.items()}

    def calling_title(self, destination: Destination) -> str:
        """Return the AE title that we call a destination by: its `calling`, else our own."""
        return destination.calling or self.receive.address.ae_title

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, str] | None = None) -> "Settings":
        """Read the file and the environment, with paths made absolute; ConfigError names the file and the key.

        `overrides` are what the environment held once, where it has been forgotten.
        """
        content, overrides = load_toml(path), environment() if overrides is None else overrides
        for name, text in overrides.items():
            _override(content, name.removeprefix(PREFIX).split("__"), text)
        try:
            settings = cls.model_validate(content).at(path.resolve().parent)
        except ValidationError as error:
            source = f"{path} with {', '.join(overrides)}" if overrides else str(path)
            raise ConfigError(f"{source}: {first_fault(error, cls, path)}") from error
        settings._file = path.resolve()  # noqa: SLF001 (it is of this class)
        return settings

    def at(self, folder: Path) -> "Settings":
        """Return the same settings, with relative paths taken from a folder."""
        return self.model_copy(
            update={
                "routes": folder / self.routes,
                "plugins": tuple(folder / plugins for plugins in self.plugins),
                "spool": self.spool.model_copy(update={"path": folder / self.spool.path}),
                "triton": self.triton.model_copy(update={"model_repository": folder / self.triton.model_repository}),
                "receive": self.receive.model_copy(update={"tls": at(folder, self.receive.tls)}),
                "destinations": {
                    name: destination.model_copy(update={"tls": at(folder, destination.tls)})
                    for name, destination in self.destinations.items()
                },
                "ledger": self.ledger.model_copy(update={"url": _sqlite_at(folder, self.ledger.url)}),
            }
        )


def forget_overrides() -> None:
    """Erase the settings in the environment of this process, once they are read: one may be the ledger's password.

    Whatever the node starts does not inherit them, and `/proc/PID/environ` does not show them.
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    for name in environment():
        address = getenv(name.encode())
        if address:
            ctypes.memset(address, ord("x"), len(os.fsencode(os.environ[name])))
        del os.environ[name]


def environment() -> dict[str, str]:
    """Return the settings in the environment of this process."""
    return {name: os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIX)}


def _override(table: dict[str, object], path: list[str], text: str) -> None:
    """Set the key at a path of table names, in any case: RECEIVE, ADDRESS; DESTINATIONS, PACS, ADDRESS."""
    first, *rest = path
    key = next((name for name in table if name.lower() == first.lower()), first.lower())
    if not rest:
        table[key] = _toml_or_text(text)
        return
    inner = table.get(key)
    if not isinstance(inner, dict):
        inner = table[key] = {}
    _override(inner, rest, text)


def _toml_or_text(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sqlite_at(folder: Path, url: str) -> str:
    """Make the path of `sqlite:///relative.db` absolute; `sqlite:////absolute.db` has four slashes."""
    if not url.startswith(SQLITE) or url.startswith(SQLITE + "/"):
        return url
    return f"{SQLITE}{folder / url.removeprefix(SQLITE)}"
