"""What tests of several tiers need: a clock that stands still, a spool, a ledger, rows to put into it, real data."""

import gc
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from pynetdicom.association import Association

from node.deliver.association import ReactorCheckpoint
from node.engine import preload_children
from node.ledger import Ledger
from node.records import Arrival, Instance, Place, Plan, ResultObject
from node.roles import preload
from node.spool import Spool
from tests.peers import ROOT
from tests.postgres import Postgres, lacking, postgres

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `node.triton.server`; read when PyTorch is first imported
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")  # less than half of PixelMed
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the tests start hundreds of nodes: none compiles its modules again
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
QUICK = "quick"
QUICK_FOLDERS = ("tests/unit",)
"""Folders whose tests need no server and no peer; most of these tests are quick."""
SLOW_MODULES = (
    "test_clinical_headers",
    "test_documents",
    "test_lungs",
    "test_nnunet",
    "test_registering",
    "test_tissue",
)
"""Modules in them that are not quick: seconds of processor time for each test, or tools that read the whole source."""
WHOLE_FOLDERS = ("tests/viewer",)
"""Where all modules share one browser, one PACS and one folder of screenshots."""
TOGETHER = {"test_objects_at_peers": "test_object_matrix"}
"""A module that one process runs with another, because they share what takes long to make."""
LONG_MODULES = (
    "test_every_modality", "test_models_added", "test_lungs", "test_every_case", "test_peers", "test_bundles",
    "test_plugins_projections", "test_plugins_photographs", "test_kill_points", "test_river", "test_registering",
    "test_commitment", "test_many_kills", "test_triton_server", "test_tissue",
)  # fmt: skip
"""Modules that take minutes. They run first, so that no worker is left with a long module at the end."""

preload_children(preload)  # before any test starts the fork server


@pytest.fixture(autouse=True)
def _children_find_the_tests() -> Iterator[None]:
    """Undo `node.cli.isolate_children` after a test that runs a command in this process: later tests start others."""
    yield
    os.environ.pop("PYTHONSAFEPATH", None)


class Sender(ReactorCheckpoint):
    """Where associations of the tests pause: at pynetdicom's own an answer that comes at once is now and then lost."""

    @classmethod
    def of(cls, begin: Callable[..., None]) -> Callable[..., None]:
        """Return pynetdicom's `Association.__init__` with a checkpoint of this kind where the association calls."""

        def begun(association: Association, *how: object) -> None:
            begin(association, *how)
            if association.is_requestor:
                association._reactor_checkpoint = cls()

        return begun


Association.__init__ = Sender.of(Association.__init__)  # type: ignore[method-assign]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run folders in a process more than there are cores, where pytest-xdist is installed, unless `-n` says how many.

    Tests of the river wait much: for quiet time, for leases, for a peer. A process is given module after module: what a
    module shares is started once.
    """
    if not hasattr(config.option, "numprocesses") or hasattr(config, "workerinput"):  # the latter: one of the processes
        return
    if config.option.numprocesses is None:
        cores = len(os.sched_getaffinity(0))
        single = config.option.collectonly or any(".py" in argument for argument in config.args)
        config.option.numprocesses = 0 if single or cores == 1 else cores + 1
    if config.option.dist == "no":
        config.option.dist, config.option.loadscopereorder = "loadfile", False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a process module after module, and together those that share what there is only once."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Modules(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            folder, _, module = path.rpartition("/")
            other = TOGETHER.get(module.removesuffix(".py"))
            if other:
                return f"{folder}/{other}.py"
            return folder if folder in WHOLE_FOLDERS else super()._split_scope(nodeid)

    return Modules(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave alone what is not quick, where only that is asked for: importing all other modules takes half a minute."""
    if config.option.markexpr != QUICK or collection_path.is_dir():
        return None
    return None if is_quick(collection_path) else True


def is_quick(module: Path) -> bool:
    """Whether the tests of a module are quick: its folder decides, less the modules named as slow."""
    folder = module.parent.relative_to(ROOT) if module.is_relative_to(ROOT) else module.parent
    return str(folder).startswith(QUICK_FOLDERS) and module.stem not in SLOW_MODULES


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what stays to the end: it would go through a million objects each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is quick. Let long modules come first, and mix the folders: some wait much and others compute much."""
    folders: dict[Path, dict[Path, None]] = {}
    for item in items:
        folders.setdefault(item.path.parent, {})[item.path] = None
        if is_quick(item.path):
            item.add_marker(QUICK)
    modules = [module for folder in folders.values() for module in folder]
    order = {module: rank / len(folder) for folder in folders.values() for rank, module in enumerate(folder)}
    order |= {module: LONG_MODULES.index(module.stem) - 99 for module in modules if module.stem in LONG_MODULES}
    items.sort(key=lambda item: order[item.path])


@dataclass
class Clock:
    """Seconds since 1970 that pass when a test says so."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """A command that is run within a test sends the log of this process to a stream that ends with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture(scope="session")
def database_server() -> Iterator[Postgres]:
    """A PostgreSQL server, started when the first test asks for it."""
    if reason := lacking():
        pytest.skip(reason)
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an empty ledger, which tests copy: its migrations take longer than most of these tests."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    Ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, empty_ledger: Path) -> str:
    """URL of an empty ledger in SQLite."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path / 'ledger.db')}"


@pytest.fixture
def ledger_url(sqlite_url: str) -> str:
    """URL of an empty ledger; the contract tests have one of each kind."""
    return sqlite_url


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(ledger_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def data() -> Callable[[str], Path]:
    """A file or folder of the real data beside this repository; without it the test is skipped."""

    def found(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"the real data {name} is not beside this repository")
        return path

    return found


def received(number: int, *, study: str, series: str, at: float, checksum: int = 0) -> Instance:
    """Make an instance of a CT series that was received."""
    return Instance(
        sop_instance_uid=f"{study}.9.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        study_uid=study,
        series_uid=series,
        modality="CT",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling="CT1",
        peer="127.0.0.1",
        received_at=at,
        checksum=checksum,
    )


@pytest.fixture
def arrival(clock: Clock) -> Callable[..., Arrival]:
    """Make a durable instance; the same number is the same instance, another checksum other bytes."""

    def make(
        number: int, *, study: str = "1.2.1", series: str = "1.2.1.1", checksum: int = 7, pack: str = "a.pack"
    ) -> Arrival:
        instance = received(number, study=study, series=series, at=clock(), checksum=checksum)
        place = Place(pack=pack, offset=number * 1000, length=900)
        return Arrival(instance=instance, place=place, end=place.offset + 950)

    return make


@pytest.fixture
def wanted() -> Callable[..., Plan]:
    """Make the plan of a job."""

    def make(
        plugin: str = "spleen",
        *,
        digest: str = "d",
        version: str = "1",
        priority: int = 0,
        to: tuple[str, ...] = ("PACS",),
    ) -> Plan:
        return Plan(
            plugin=plugin,
            version=version,
            route="every CT",
            inputs=({"ct": "1.2.1.1"},),
            destinations=to,
            priority=priority,
            digest=digest,
        )

    return make


@pytest.fixture
def result() -> Callable[..., ResultObject]:
    """Make the row of a composed object."""

    def make(number: int = 1, *, kind: str = "SEG", path: str = "objects/a.dcm") -> ResultObject:
        return ResultObject(
            sop_instance_uid=f"2.25.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
            series_uid="2.25.99",
            kind=kind,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=path,
        )

    return make


@pytest.fixture
def routed(ledger: Ledger, arrival: Callable[..., Arrival]) -> Callable[..., int]:
    """Receive one more instance of a study, take it for stable and plan jobs for it; return how many are new."""

    def make(*plans: Plan, study: str = "1.2.1", number: int = 1, series: str = "1.2.1.1") -> int:
        ledger.instances.record([arrival(number, study=study, series=series)])
        seen = ledger.studies.find(study)
        assert seen is not None
        assert ledger.studies.settle(seen, "settled by the test")
        stable = ledger.studies.find(study)
        assert stable is not None
        return ledger.studies.plan(stable, [], plans)

    return make
