"""`isocenter model get`: a public model of the catalogue becomes a Triton model and a plugin.

What is downloaded is kept in one folder, so that it is asked for once. Nothing of it is read before its checksum fits,
or a person has accepted the checksum that was found.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from node.errors import ConfigError
from node.models.add import add
from node.models.catalogue import UNKNOWN_SUM, Download, Entry
from node.models.catalogue.entry import Stated
from node.models.download import Arrived, download, remove, sum_of, unpacked
from node.models.made_in_sandbox import Made
from node.models.model_card import CARD, of_catalogue
from node.models.monai_bundle import is_bundle
from node.models.network_file import WRITTEN_OUT
from node.models.nnunet_folder import PLANS

ORIGIN = "catalogue.json"
"""In a model's folder: the entry that it was made of."""
ARCHIVE = ".zip"
Agree = Callable[[str], bool]
"""Asks a person a question; False where nobody can be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlaces:
    """Where models and plugins are made, and where downloads are kept."""

    models: Path
    plugins: Path
    downloads: Path

    def folder_of(self, entry: Entry) -> Path:
        """Return where the files of an entry are kept."""
        return self.downloads / entry.name / entry.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One file or folder of an entry that is here, and whether it is surely what its publisher published."""

    download: Download
    path: Path
    sha256: str
    proven: bool


def get(
    entry: Entry,
    places: ModelPlaces,
    *,
    given: Path | None = None,
    agree: Agree,
    sums: Sequence[str] = (),
    trust: bool = False,
    progress: Arrived = lambda *_: None,
) -> list[Made]:
    """Download the files of an entry, check them, and make a model and a plugin of each.

    Parameters
    ----------
    given
        A file of the entry, or a folder that holds its files or what is in them; without it they are downloaded.
    agree
        Is asked whether the licence is accepted, and a checksum that its publisher does not state.
    sums
        SHA-256 sums that a person has accepted.
    trust
        Whether code that comes with the model may be run, in the sandbox.

    Raises
    ------
    ConfigError
        isocenter cannot use the model, a folder is there already, the licence is not accepted, a file cannot be had or
        is another one than was published, or `add` refuses it. Nothing is made then.
    """
    if entry.missing:
        raise ConfigError(f"{entry.name} is not served yet: {entry.missing}")
    for name in entry.plugins:
        for folder in (places.models / name, places.plugins / name):
            if folder.exists():
                raise ConfigError(f"{folder} is there already: isocenter model remove {entry.name}, or rename it")
    _check_licence(entry, agree)
    brought = [_brought(entry, each, places, given, agree, sums, progress) for each in entry.download]
    made: list[Made] = []
    try:
        for name, each in zip(entry.plugins, brought, strict=True):
            made.append(_made(entry, name, each, places, trust=trust))
            _record(entry, name, each, places)
    except ConfigError:
        remove(*(folder for each in made for folder in each.folders))
        raise
    return made


def _check_licence(entry: Entry, agree: Agree) -> None:
    licence = entry.licence
    terms = f"{entry.name} is published under {licence.name}"
    if licence.commercial == "no":
        terms += ", which does not allow commercial use"
    if licence.note:
        terms += f" ({licence.note})"
    if not agree(f"{terms}; see {licence.source}. Do you accept it?"):
        raise ConfigError(f"{terms}: read {licence.source}, and say --accept-licence if you accept it")


def _brought(
    entry: Entry,
    wanted: Download,
    places: ModelPlaces,
    given: Path | None,
    agree: Agree,
    sums: Sequence[str],
    progress: Arrived,
) -> Fetched:
    """Bring the files of one download here, and check them."""
    folder = places.folder_of(entry)
    paths = []
    for each in (wanted, *wanted.beside):
        path = _found(each, given, alone=len(entry.download) == 1) if given else folder / each.file
        if not given and not path.exists():
            if each.url is None:
                raise ConfigError(f"{wanted.file} cannot be downloaded: {wanted.how}, then name it by --from")
            download(each.url, path, progress)
        paths.append(path)
    stated = [_checked(each, path, agree, sums) for each, path in zip((wanted, *wanted.beside), paths, strict=True)]
    first = paths[0].parent if wanted.beside and paths[0].is_file() else paths[0]
    return Fetched(download=wanted, path=first, sha256=sum_of(paths[0], "sha256"), proven=all(stated) or not given)


def _found(wanted: Stated, given: Path, *, alone: bool) -> Path:
    """Return where a file lies that was given: itself, in the folder, or unpacked in the folder."""
    if given.is_dir():
        for path in (given / wanted.file, given / wanted.file.removesuffix(ARCHIVE)):
            if path.exists():
                return path
    if alone and given.exists() and not (isinstance(wanted, Download) and wanted.beside):
        return given
    raise ConfigError(f"{given} has no {wanted.file}: name the folder that it lies in")


def _checked(wanted: Stated, path: Path, agree: Agree, sums: Sequence[str]) -> bool:
    """Return whether a file has the sum that its publisher states.

    ConfigError if it has another, or if its publisher states none and nobody accepts the sum that it has.
    """
    stated = wanted.stated
    if stated is not None and path.is_file():
        found = sum_of(path, stated.algorithm)
        if not stated.fits(found):
            raise ConfigError(
                f"{path} is not the file that was published: its {stated.algorithm} is {found}, and should be "
                f"{stated.digits}. Remove it and get it again; if it is the same again, ask its publisher"
            )
        if stated.whole:
            return True
    found = sum_of(path, "sha256")
    why = UNKNOWN_SUM if path.is_file() else "a folder has no published checksum"
    if found not in sums and not agree(f"{path.name}: {why}. Its SHA-256 is {found}. Is that the file you want?"):
        raise ConfigError(f"{path}: {why}. Its SHA-256 is {found}: if you trust it, say --accept-sha256 {found}")
    return False


def _made(entry: Entry, name: str, brought: Fetched, places: ModelPlaces, *, trust: bool) -> Made:
    """Make a model and a plugin of one file."""
    with TemporaryDirectory(dir=places.downloads, prefix=".unpacked-") as scratch:
        folder = brought.path
        if folder.suffix == ARCHIVE:
            folder = unpacked(folder, Path(scratch) / "files")
        chain = Path(scratch) / "chain.toml"
        chain.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in entry.chain.items()))
        made = add(
            _source(entry, folder),
            name,
            models=places.models,
            plugins=places.plugins,
            labels=entry.labels,
            modality=entry.use.modality,
            chain=chain if entry.chain or entry.adapter == "network" else None,
            builder=f"{WRITTEN_OUT}{entry.network}" if entry.network else "",
            trust=trust,
            validated_on=entry.validated.on if entry.validated and brought.proven else "",
        )
    card = places.plugins / name / CARD
    card.write_text(of_catalogue(card.read_text(encoding="utf-8"), entry), encoding="utf-8")
    return made


def _toml(value: object) -> str:
    """Write a value of a chain as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _source(entry: Entry, path: Path) -> Path:
    """Return what `add` is given: the folder inside an archive that its reader knows."""
    if entry.adapter == "network":
        return path
    found = sorted(_bundles(path) if entry.adapter == "monai" else {plans.parent for plans in path.rglob(PLANS)})
    what = "MONAI bundle" if entry.adapter == "monai" else "results folder of nnU-Net"
    if len(found) != 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in found) or "none"
        raise ConfigError(f"{path} should hold one {what}, and holds {names}: name its folder by --from")
    return found[0]


def _bundles(path: Path) -> Iterator[Path]:
    for metadata in path.rglob("metadata.json"):
        if is_bundle(metadata.parent.parent):
            yield metadata.parent.parent


def _record(entry: Entry, name: str, brought: Fetched, places: ModelPlaces) -> None:
    words = {"entry": entry.name, "version": entry.version, "file": brought.download.file, "sha256": brought.sha256}
    (places.models / name / ORIGIN).write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")


def removable(name: str, places: ModelPlaces) -> list[Path]:
    """Return the folders that were made of an entry, and of what was downloaded for it.

    Raises
    ------
    ConfigError
        There is none: nothing was made by `model get` under this name.
    """
    made = []
    for origin in sorted(places.models.glob(f"*/{ORIGIN}")):
        if json.loads(origin.read_text(encoding="utf-8"))["entry"] == name:
            model = origin.parent
            made += [model, model.with_name(f"{model.name}_net"), places.plugins / model.name]
    folders = [folder for folder in (*made, places.downloads / name) if folder.exists()]
    if not folders:
        raise ConfigError(f"nothing here was made by isocenter model get {name}")
    return folders
