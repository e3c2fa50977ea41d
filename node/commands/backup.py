"""A backup of a node in one file, made while it runs; and a node made again of such a file.

The file is a tar archive: `ledger.db`, `config/`, `plugins/` and, where asked for, `models/` and `spool/`. Its last
member `backup.json` has the SHA-256 of all others, so that an archive that was cut short is noticed.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from node.commands.file_digest import sha256_of
from node.errors import ConfigError
from node.ledger import copying, read_url
from node.settings import PACKAGE, Settings

CONTENTS = "backup.json"
CONFIG, ROUTES, LEDGER = "config/isocenter.toml", "config/routes.toml", "ledger.db"
SPOOL_FOLDERS = ("packs", "objects")
LEFT_OUT = {"__pycache__"}


@dataclass(slots=True)
class BackupArchive:
    """A tar archive that is written; it remembers the digest of every member."""

    tar: tarfile.TarFile
    digests: dict[str, str] = field(default_factory=dict)

    def add(self, file: Path, name: str) -> None:
        """Add a file as it is now; what is appended to it meanwhile is left out."""
        with file.open("rb") as opened:
            member = self.tar.gettarinfo(arcname=name, fileobj=opened)
            member.mode, member.uname, member.gname, member.uid, member.gid = 0o600, "", "", 0, 0
            reader = _Digested(opened, member.size)
            self.tar.addfile(member, reader)
        self.digests[name] = reader.digest.hexdigest()

    def add_folder(self, folder: Path, name: str) -> None:
        """Add the files of a folder, links as what they lead to; one that vanishes meanwhile is left out."""
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not LEFT_OUT & set(file.relative_to(folder).parts):
                with suppress(FileNotFoundError):
                    self.add(file, f"{name}/{file.relative_to(folder).as_posix()}")


class _Digested:
    """Reads so many bytes of a file, and computes their digest."""

    def __init__(self, opened: Any, size: int) -> None:
        self._opened, self._left = opened, size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._opened.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


def backup(config: Path, settings: Settings, file: Path, *, models: bool, images: bool) -> Iterator[str]:
    """Write a backup, and say what is in it; the node may run.

    Parameters
    ----------
    models, images
        Whether the models in `triton.model_repository`, and the spool with images and results, are written, too.

    Raises
    ------
    ConfigError
        The file exists, or there is no ledger.
    """
    if file.exists():
        raise ConfigError(f"{file} exists already; name another file")
    part = file.with_name(f"{file.name}.part")
    try:
        with TemporaryDirectory(dir=file.resolve().parent, prefix=".isocenter-") as folder, part.open("xb") as opened:
            copy = Path(folder) / LEDGER
            copying.save(settings.ledger.url, copy)
            with tarfile.open(fileobj=opened, mode="w:gz", compresslevel=3) as tar:
                yield from _write(BackupArchive(tar), config, settings, copy, models=models, images=images)
            opened.flush()
            os.fsync(opened.fileno())
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    yield f"written: {file}, {file.stat().st_size / 2**20:.1f} MiB. It names patients: keep it as you keep the ledger"


def _write(
    archive: BackupArchive, config: Path, settings: Settings, ledger: Path, *, models: bool, images: bool
) -> Iterator[str]:
    archive.add(ledger, LEDGER)
    yield f"ledger: {settings.ledger.url.rpartition('@')[2]}"
    archive.add(config, CONFIG)
    archive.add(settings.routes, ROUTES)
    yield f"configuration: {config}, {settings.routes}"
    for number, folder in enumerate(settings.plugins):
        if folder.resolve() != PACKAGE / "plugins":
            archive.add_folder(folder, f"plugins/{number}")
            yield f"plugins with their model cards: {folder}"
    repository = settings.triton.model_repository
    own = repository.is_dir() and repository.resolve() != PACKAGE / "triton_models"
    if own and models:
        archive.add_folder(repository, "models")
        yield f"models: {repository}"
    elif own and any(repository.iterdir()):
        yield f"not in it: the models of {repository}, unless you say --models"
    if images:
        for name in SPOOL_FOLDERS:
            archive.add_folder(settings.spool.path / name, f"spool/{name}")
        yield f"images and results: {settings.spool.path}"
    else:
        yield f"not in it: images and results in {settings.spool.path}, unless you say --images"
    contents = {
        "isocenter": version("isocenter"),
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": archive.digests,
    }
    text = json.dumps(contents, indent=1).encode()
    member = tarfile.TarInfo(CONTENTS)
    member.size, member.mode = len(text), 0o600
    archive.tar.addfile(member, io.BytesIO(text))


def restore(file: Path, config: Path) -> Iterator[str]:
    """Make a node of a backup: the configuration at `config`, and all else where it says; nothing is overwritten.

    Raises
    ------
    ConfigError
        The file is no whole backup, or something is there already.
    """
    if config.exists():
        raise ConfigError(f"there is a configuration already: {config}; name another place with --config")
    config.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=config.resolve().parent, prefix=".isocenter-") as folder:
        contents = _unpacked(file, Path(folder))
        told = f"backup of {contents['made_at']} by isocenter {contents['isocenter']}"
        yield f"{told}: all {len(contents['files'])} files are as they were written"
        yield from _placed(Path(folder), config)


def restore_ledger(file: Path, settings: Settings) -> Iterator[str]:
    """Put only the ledger of a backup where the settings say; what came since is read from the packs at the start.

    Raises
    ------
    ConfigError
        The file is no whole backup, or there is a ledger already.
    """
    copying.check_empty(settings.ledger.url)
    _make_parent(settings)
    with TemporaryDirectory(prefix="isocenter-") as folder:
        _unpacked(file, Path(folder))
        copying.load(Path(folder) / LEDGER, settings.ledger.url)
    yield f"restored: the ledger {settings.ledger.url.rpartition('@')[2]}"


def _unpacked(file: Path, folder: Path) -> Mapping[str, Any]:
    """Unpack an archive into a folder and compare every digest; return its contents."""
    try:
        with tarfile.open(file) as tar:
            _extract(tar, folder)
        contents: dict[str, Any] = json.loads((folder / CONTENTS).read_bytes())
        files: dict[str, str] = contents["files"]
        wrong = [name for name, digest in files.items() if sha256_of(folder / PurePosixPath(name)) != digest]
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} is no whole backup of isocenter: {error}") from error
    if wrong:
        raise ConfigError(f"{file} is damaged: {', '.join(wrong[:3])} is not as it was written")
    return contents


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Write the files of an archive below a folder, and nothing else; `extractall` has filters since Python 3.11.4."""
    for member in tar:
        name = PurePosixPath(member.name)
        source = tar.extractfile(member) if member.isfile() else None
        if source is None or name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{member.name} is no file of a backup")
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with source, place.open("xb") as written:
            shutil.copyfileobj(source, written)


def _placed(folder: Path, config: Path) -> Iterator[str]:
    """Put what was unpacked where the configuration says."""
    waiting = config.with_name(f".{config.name}.restored")  # beside it: paths in it are relative to its folder
    shutil.copyfile(folder / CONFIG, waiting)
    try:
        settings = Settings.read(waiting)
        places = dict(_places(folder, settings))
        taken = [place for place in places.values() if place.is_file() or (place.is_dir() and any(place.iterdir()))]
        if taken:
            raise ConfigError(f"{taken[0]} is there already; move it away, or name another place with --config")
        copying.check_empty(settings.ledger.url)
        for source, place in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                place.rmdir()
            shutil.move(source, place)
            yield f"restored: {place}"
        _make_parent(settings)
        copying.load(folder / LEDGER, settings.ledger.url)
        yield f"restored: the ledger {settings.ledger.url.rpartition('@')[2]}"
        waiting.rename(config)
        yield f"restored: {config}"
    finally:
        waiting.unlink(missing_ok=True)
    yield f"next: isocenter check --config {config}"


def _places(folder: Path, settings: Settings) -> Iterator[tuple[Path, Path]]:
    """Yield what was unpacked, with where it belongs."""
    yield folder / ROUTES, settings.routes
    for number, place in enumerate(settings.plugins):
        source = folder / "plugins" / str(number)
        if source.is_dir():
            yield source, place
        elif place.resolve() != PACKAGE / "plugins":
            place.mkdir(parents=True, exist_ok=True)
    if (folder / "models").is_dir():
        yield folder / "models", settings.triton.model_repository
    for name in SPOOL_FOLDERS:
        if (folder / "spool" / name).is_dir():
            yield folder / "spool" / name, settings.spool.path / name


def _make_parent(settings: Settings) -> None:
    """Make the folders that a node takes for granted: of the ledger's file, and of models."""
    address = read_url(settings.ledger.url)
    if address.drivername == "sqlite":
        Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
    settings.triton.model_repository.mkdir(parents=True, exist_ok=True)
