"""Brings a file from the publisher of a model, in parts where the connection breaks, and unpacks it."""

import hashlib
import http.client
import os
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from node.errors import ConfigError

Arrived = Callable[[int, int], None]
"""Called with the bytes that are here, and with all of them (0: unknown)."""
CHUNK = 1 << 20
PART = ".part"
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
PARTIAL, BEYOND = 206, 416
AGENT = "isocenter"


def download(url: str, file: Path, progress: Arrived) -> Path:
    """Download a file, or the rest of it; what came lies beside it until it is whole.

    Raises
    ------
    ConfigError
        The server refuses the file; or the connection failed or ended early: what came is kept, and the next call asks
        for the rest.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + PART)
    here = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": AGENT})  # noqa: S310 (the catalogue has https alone)
    if here:
        request.add_header("Range", f"bytes={here}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            _write(answer, part, here if answer.status == PARTIAL else 0, progress)
    except urllib.error.HTTPError as error:
        if error.code != BEYOND:
            raise ConfigError(
                f"{url} answers {error.code} {error.reason}: the file has moved, or this network may not have it; "
                "download it elsewhere and name it by --from"
            ) from error
        part.unlink()  # longer than the file is now: it has changed since
        raise ConfigError(f"{url} has changed since the first part of it came: run the command again") from error
    except (OSError, http.client.HTTPException) as error:
        size = part.stat().st_size if part.exists() else 0
        raise ConfigError(
            f"{url} cannot be downloaded: {getattr(error, 'reason', error)}; {size:,} bytes are kept, run the command "
            "again for the rest. Without internet, download it elsewhere and name it by --from"
        ) from error
    part.replace(file)
    return file


def _write(answer: http.client.HTTPResponse, part: Path, here: int, progress: Arrived) -> None:
    """Append an answer to what is here; OSError where it ends before its length."""
    length = int(answer.headers.get("Content-Length") or 0)
    whole = here + length if length else 0
    if length > (free := shutil.disk_usage(part.parent).free):
        raise ConfigError(f"{part.parent} has {free:,} bytes left, and the file {length:,}: free some")
    with part.open("ab" if here else "wb") as out:
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            here += len(chunk)
            progress(here, whole)
        out.flush()
        os.fsync(out.fileno())
    if whole and here < whole:
        raise OSError(f"it ended after {here:,} of {whole:,} bytes")


def sum_of(file: Path, algorithm: str) -> str:
    """Return the sum of a file in hexadecimal digits; of a folder, that of its files' names and sums."""
    if file.is_dir():
        whole = hashlib.new(algorithm, usedforsecurity=False)
        for path in sorted(path for path in file.rglob("*") if path.is_file()):
            whole.update(f"{path.relative_to(file).as_posix()}\0{sum_of(path, algorithm)}\n".encode())
        return whole.hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack a ZIP file into a new folder.

    Raises
    ------
    ConfigError
        It is damaged, needs more space than there is, or has a file that would lie elsewhere, or a link. Nothing is
        left behind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            _check_members(archive, opened, shutil.disk_usage(folder).free)
            opened.extractall(folder)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(f"{archive} cannot be unpacked: {error}; remove it, and get it again") from error
    except ConfigError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _check_members(archive: Path, opened: zipfile.ZipFile, free: int) -> None:
    members = opened.infolist()
    for member in members:
        place = PurePosixPath(member.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise ConfigError(f"{archive} holds {member.filename!r}, which would lie outside its folder: do not use it")
    if (needed := sum(member.file_size for member in members)) > free:
        raise ConfigError(f"{archive} unpacks to {needed:,} bytes, and {free:,} are free: make space")


def remove(*paths: Path) -> None:
    """Remove files and folders that may be there."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()
