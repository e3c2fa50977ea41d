"""An offline bundle: what `pip` needs to install a node where there is no internet, with digests, as one tar file."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from node.commands.file_digest import sha256_of
from node.errors import ConfigError

NAME = "isocenter"
SUMS, WHEELS, MODELS, NOTE = "SHA256SUMS", "wheels", "models", "README.txt"
TEXT = """\
isocenter {version} for Python {python} on Linux, without internet.

    sha256sum --check --quiet SHA256SUMS
    python{python} -m venv /opt/isocenter
    /opt/isocenter/bin/pip install --no-index --find-links wheels 'isocenter{extras}'
    /opt/isocenter/bin/isocenter init /srv/isocenter

The plugins and models that come with isocenter are in its wheel.{models}
"""
OWN_MODELS = " Folders of `models` belong into the node's triton_models."


def bundle(file: Path, wheel: Path, extra: str, *, index: Sequence[str], models: Sequence[Path]) -> Iterator[str]:
    """Download the wheels of isocenter and of all it needs, for this Python and this kind of machine, and pack them.

    Parameters
    ----------
    wheel, extra
        The wheel of isocenter that is installed there, and the names of its extras, with commas.
    index
        More options for pip, such as the index of PyTorch's CPU build.
    models
        Folders of models to be packed, too.

    Raises
    ------
    ConfigError
        The file exists, a wheel or model does not, or pip cannot find a wheel.
    """
    for path in (wheel, *models):
        if not path.exists():
            raise ConfigError(f"there is no {path}")
    if file.exists():
        raise ConfigError(f"{file} exists already; name another file")
    file.resolve().parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.resolve().parent, prefix=".isocenter-") as name:
        folder = Path(name) / f"{NAME}-{version(NAME)}"
        (folder / WHEELS).mkdir(parents=True)
        yield "pip downloads the wheels, most of a gigabyte"
        extras = f"[{extra}]" if extra else ""
        _download(folder / WHEELS, f"{NAME}{extras} @ {wheel.resolve().as_uri()}", index)
        for model in models:
            shutil.copytree(model, folder / MODELS / model.name, ignore=shutil.ignore_patterns("__pycache__"))
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        text = TEXT.format(version=version(NAME), python=python, models=OWN_MODELS if models else "", extras=extras)
        (folder / NOTE).write_text(text, encoding="utf-8")
        count = _write_sums(folder)
        part = file.with_name(f"{file.name}.part")
        with tarfile.open(part, "w") as tar:  # wheels are compressed already
            tar.add(folder, folder.name)
        part.rename(file)
    yield f"written: {file}, {count} files, {file.stat().st_size / 2**20:.0f} MiB; {NOTE} in it says how to install"


def _download(folder: Path, requirement: str, index: Sequence[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--only-binary=:all:",
        "--dest",
        str(folder),
        *index,
        requirement,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise ConfigError(f"pip cannot download {requirement}: {' '.join(said)}")


def _write_sums(folder: Path) -> int:
    """Write the digest of each file as `sha256sum --check` reads it; return how many there are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return len(files)
