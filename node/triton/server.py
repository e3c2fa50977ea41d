"""The Triton server on this machine: NVIDIA's own binary, out of the wheel `nvidia-pytriton`, without a container.

The wheel carries the server, its Python backend and one stub process for each version of Python, all as plain files.
Nothing is copied: a private folder of three links makes a backend folder with the right stub in it.

Whoever reaches Triton's gRPC interface can have it load a model, and a model is code. The server therefore listens on a
Unix socket in a private folder, on no port: only the user who runs the node reaches it.
"""

import importlib.util
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from node.errors import ConfigError, TritonUnavailable
from node.triton.server_connection import server_name

KEEPER = Path(__file__).with_name("watchdog.py")
STUB = "triton_python_backend_stub"
FINISH_SECONDS = 3  # how long Triton waits for requests in flight when it is asked to end
GRACE_SECONDS = 10  # how long the keeper waits for Triton to unload its models before it kills
CONTROL_MODE = "explicit"  # no model is loaded before a client asks for it
SOCKET, SOCKET_NUMBER = "grpc", 1
"""The socket's name in its folder is `grpc:1`: Triton puts its port number behind an address, whatever it is."""
LONGEST_SOCKET_PATH = 107
"""Longest path of a Unix socket (unix(7))."""
LOOK_SECONDS = 0.05
DEFAULTS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""PyTorch's threads wait for each other in a loop that keeps a core busy, dozens of times in one answer; where others
want the cores too, an answer then takes ten times as long. Asleep they cost a tenth more on an idle machine."""
LOG_PREFIX = re.compile(r"^[IWEF]\d{4} [^\]]*\]\s*")  # glog: level, date, time, thread, file:line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """Where the parts of the installed wheel lie that a server for this version of Python needs."""

    binary: Path
    backend: Path
    stub: Path
    libraries: Path

    @classmethod
    def find(cls) -> Self:
        """Find the parts without importing the wheel.

        Raises
        ------
        ConfigError
            The wheel is not installed, has no stub for this Python, or stands beside a NumPy that it corrupts.
        """
        spec = importlib.util.find_spec("pytriton")
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(
                'There is no Triton server on this machine: install "nvidia-pytriton", or name one in [triton] urls.'
            )
        package = Path(next(iter(spec.submodule_search_locations)))
        parts = package / "tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        wheel = cls(
            binary=parts / "bin" / "tritonserver",
            backend=parts / "backends" / "python",
            stub=parts / "python_backend_stubs" / version / STUB,
            libraries=package.parent / "nvidia_pytriton.libs",
        )
        if not wheel.stub.is_file():
            there = ", ".join(sorted(stub.parent.name for stub in parts.glob(f"python_backend_stubs/*/{STUB}")))
            raise ConfigError(
                f"nvidia-pytriton runs models in Python {there or '(none)'}, not {version}: "
                f"use one of these, or name a server in [triton] urls."
            )
        # The stubs up to 0.7.0 are built with a pybind11 that reads the item size of a NumPy 2 array as 0: a model then
        # gets its first voxel repeated, and its outputs arrive empty, without any error. The wheel itself asks for <2.
        if int(np.__version__.split(".")[0]) >= 2:
            raise ConfigError(
                f"nvidia-pytriton hands wrong voxels to models under NumPy {np.__version__}: "
                f'install "numpy<2", or name a server in [triton] urls.'
            )
        return wheel

    def environment(self, python: Path | None = None) -> dict[str, str]:
        """Return the environment of the server and its stubs: the wheel's libraries, libpython, and Python's packages.

        A stub finds its packages as an embedded interpreter does, from the `python3` that comes first on PATH (and the
        `pyvenv.cfg` beside it): that of this process, or `python`. Since Python 3.11 a stub runs isolated and ignores
        PYTHONPATH, which older ones need.
        """
        packages = [folder for folder in sys.path if folder.endswith(("site-packages", "dist-packages"))]
        first = {
            "LD_LIBRARY_PATH": [str(self.libraries), str(Path(sys.base_prefix, "lib"))],
            "PYTHONPATH": packages if python is None else [],
            "PATH": [str(Path(python or sys.executable).parent)],
        }
        rest = {name: [os.environ[name]] if os.environ.get(name) else [] for name in first}
        return DEFAULTS | os.environ | {name: os.pathsep.join([*first[name], *rest[name]]) for name in first}

    def check(self, environment: Mapping[str, str] | None = None) -> None:
        """Raise ConfigError if this Python has no shared library, in which Triton runs models.

        The stub without arguments says so and ends, unless ld.so(8) lacks a library, and ends it with 127.
        """
        tried = subprocess.run(
            [self.stub], env=environment or self.environment(), capture_output=True, text=True, timeout=30, check=False
        )
        if tried.returncode == 127:
            reason = tried.stderr.strip().rpartition(": error while loading ")[2]
            package = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
            raise ConfigError(
                f"Triton cannot run models in this Python ({sys.executable}), {reason}: install Python's shared "
                f"library; on Debian and Ubuntu: apt install {package}"
            )


class LocalServer:
    """A Triton server of our own on a Unix socket, that loads no model before it is asked to.

    Use as a context manager, or `start` and `stop`. It uses the GPUs that it finds (CUDA_VISIBLE_DEVICES limits them),
    else the CPU. It ends with this process, however that ends; which thread started it does not matter. When it has
    ended by itself, `alive` is False and `start` starts a new one. `stop` waits some seconds for requests in flight.

    Parameters
    ----------
    folder
        Where its socket is, removed when it stops; a temporary folder without it. Other users cannot look into it.
    control_mode
        Triton's --model-control-mode: "explicit" loads a model when a client asks for it, "none" all models at start.
    environment
        Of the server and its stubs; that of `Wheel.environment` without it.
    beside
        More model repositories. Of models with the same name the first one found is served, where Triton serves none.
    """

    def __init__(
        self,
        model_repository: Path,
        log: Path,
        *,
        folder: Path | None = None,
        control_mode: str = CONTROL_MODE,
        environment: Mapping[str, str] | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        self.model_repository = model_repository
        self._beside = beside
        self.log = log
        self._folder = folder
        self._control_mode = control_mode
        self._environment = environment
        self._keeper: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._log_from = 0

    @property
    def process(self) -> int:
        """The process of the keeper, above those of the server and of its models; 0 where none runs."""
        return self._keeper.pid if self._keeper else 0

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self, deadline_seconds: float = 60) -> str:
        """Start the server and return its gRPC address, `unix:PATH`, once it answers there.

        Raises
        ------
        ConfigError
            The model repository, the wheel, or something that the wheel needs is not there.
        TritonUnavailable
            The server ended at once, or did not answer within the deadline; the message has its last line.
        """
        if self.alive:
            return self._address
        if not self.model_repository.is_dir():
            raise ConfigError(f"{self.model_repository}: no such folder; [triton] model_repository must name one.")
        wheel = Wheel.find()
        environment = dict(self._environment or wheel.environment())
        wheel.check(environment)
        name = self._launch(wheel, environment)
        if self._answers(name, time.monotonic() + deadline_seconds):
            return self._address
        self.stop()
        raise TritonUnavailable(
            f"The local Triton server did not start in {deadline_seconds:g} s: {self._last_words()}; see {self.log}."
        )

    def stop(self) -> None:
        """End the server, gracefully if it can, and wait until it and its stubs are gone; without one, do nothing."""
        if self._keeper is None:
            return
        self._keeper.terminate()
        try:
            self._keeper.wait(2 * GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The gRPC address of the server that was started last, `unix:PATH`."""
        return self._address

    def _launch(self, wheel: Wheel, environment: dict[str, str]) -> str:
        name = f"isocenter_{os.getpid()}_{secrets.token_hex(4)}"  # also begins the names of its shared-memory regions
        folder = _private_folder(wheel, self._folder)
        self._address = f"unix:{folder / SOCKET}:{SOCKET_NUMBER}"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        server = [
            str(wheel.binary),
            f"--id={name}",
            f"--model-repository={self.model_repository.resolve()}",
            *([f"--model-repository={_links(folder, self.model_repository, self._beside)}"] if self._beside else []),
            f"--model-control-mode={self._control_mode}",
            "--exit-on-error=false",
            f"--backend-directory={folder}",
            f"--backend-config=python,shm-region-prefix-name={name}_",
            "--allow-http=false",
            "--allow-metrics=false",
            f"--grpc-address=unix:{folder / SOCKET}",
            f"--grpc-port={SOCKET_NUMBER}",
            "--strict-readiness=false",  # else one model that failed to load makes the whole server "not ready"
            f"--exit-timeout-secs={FINISH_SECONDS}",
        ]
        keeper = [sys.executable, "-I", "-S", str(KEEPER)]
        keeper += [str(os.getpid()), f"{name}_", str(folder), str(GRACE_SECONDS)]
        with self.log.open("ab") as log:
            self._log_from = log.seek(0, os.SEEK_END)
            self._keeper = subprocess.Popen(
                [*keeper, *server],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end the server when its work is done
            )
        return name

    def _answers(self, name: str, ends: float) -> bool:
        while self.alive and time.monotonic() < ends:
            if server_name(self._address) == name:
                return True
            time.sleep(LOOK_SECONDS)
        return False

    def _words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._words().splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"E\d{4} ", line) or "error" in line.lower()]
        last = next(reversed(errors or lines), "it said nothing")
        return LOG_PREFIX.sub("", last)[:300].rstrip(".")


def _private_folder(wheel: Wheel, folder: Path | None) -> Path:
    """Make the folder of the socket, with a backend folder in it; ConfigError where its path is too long."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="isocenter-"))
    else:
        folder.mkdir(mode=0o700)
    if len(os.fsencode(folder / f"{SOCKET}:{SOCKET_NUMBER}")) > LONGEST_SOCKET_PATH:
        folder.rmdir()
        raise ConfigError(f"{folder}: the path is too long for a socket; set TMPDIR to a folder with a short path.")
    backend = folder / "python"
    backend.mkdir()
    for part in (*wheel.backend.iterdir(), wheel.stub):
        if part.is_file():
            (backend / part.name).symlink_to(part)
    return folder


def _links(folder: Path, first: Path, beside: Sequence[Path]) -> Path:
    """Make a repository of links to the models beside the first repository that it does not have itself."""
    repository = folder / "models"
    repository.mkdir()
    taken = {path.name for path in first.iterdir()}
    for model in (path for place in beside for path in sorted(place.iterdir()) if path.is_dir()):
        if model.name not in taken:
            (repository / model.name).symlink_to(model)
            taken.add(model.name)
    return repository
