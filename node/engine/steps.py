"""The engine of one process: each thread runs one step of the flow when there is something to do."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

log = structlog.get_logger()

IDLE_SECONDS = 30.0
"""How long a step sleeps at most; it then finds in the ledger what no wake-up announced."""
REST_SECONDS = 5.0
"""How long a step rests after an error."""
STOP_SECONDS = 30.0
"""How long steps may take to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the flow.

    Parameters
    ----------
    work
        Does all that is due now, and returns in how many seconds more will be due, or None if that is not known.
    then
        Names of the steps that may have something to do afterwards.
    threads
        How many threads run the step.
    remind
        Of a step that can run once for each job id that a courier brings: has lost ids delivered again, and returns
        in how many seconds to do so again, or None.
    """

    name: str
    work: Callable[[], float | None]
    then: tuple[str, ...] = ()
    threads: int = 1
    remind: Callable[[], float | None] | None = None


class Courier(Protocol):
    """Brings job ids from other processes; an id that is lost, late or comes twice does no harm."""

    def listen(self, work: Callable[[], object], *, name: str, slots: int) -> None:
        """Run `work` for each id that comes, in `slots` threads called `name`; return when stopped."""

    def stop(self) -> None:
        """Take no more ids; `listen` returns when the work in progress is done."""


@dataclass(slots=True)
class Engine:
    """Runs steps until it is stopped. A lost or repeated wake-up is harmless: every step looks into the ledger.

    Parameters
    ----------
    courier
        Without a courier, a step runs when it is due or woken. With one, a step that has a `remind` runs when a job id
        comes, and reminds when it is due or woken.
    elsewhere
        Is called with the name of a step of another process that may have something to do.
    first
        Is called before each run of a step.
    idle_seconds, rest_seconds
        How long a step sleeps at most, and how long it rests after an error.
    """

    steps: Sequence[Step]
    courier: Courier | None = None
    elsewhere: Callable[[str], object] = lambda _name: None
    first: Callable[[], object] = lambda: None
    idle_seconds: float = IDLE_SECONDS
    rest_seconds: float = REST_SECONDS
    _current: dict[str, Step] = field(init=False, default_factory=dict)
    _loops: dict[str, Step] = field(init=False)
    _wakes: dict[str, threading.Event] = field(init=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._loops = self._read(self.steps)
        self._wakes = {name: threading.Event() for name in self._loops}

    def wake(self, *names: str) -> None:
        """Run steps soon: they may have something to do."""
        for name in names:
            if name in self._wakes:
                self._wakes[name].set()
            else:
                self.elsewhere(name)

    def start(self) -> None:
        """Run every step in threads of its own."""
        for loop in list(self._loops.values()):
            self._launch(loop)

    def replace(self, steps: Sequence[Step]) -> None:
        """Run other steps from now on, each when its former work is done.

        A step of a new name gets threads; the threads of one whose name is gone end. No step runs in two versions.
        """
        former, self._loops = self._loops, self._read(steps)
        self.steps = steps
        for loop in self._loops.values():
            if loop.name not in former:
                self._wakes[loop.name] = threading.Event()
                self._launch(loop)
        self.wake(*former, *self._loops)

    def _launch(self, loop: Step) -> None:
        for number in range(loop.threads):
            thread = threading.Thread(target=self._run, args=(loop.name,), name=f"{loop.name}-{number + 1}")
            self._threads.append(thread)
            thread.start()

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Let every step finish what it is doing, and end; wait so many seconds for all of them."""
        self._stopping.set()
        self.wake(*list(self._wakes))
        if self.courier is not None:
            self.courier.stop()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            log.warning("engine.late", steps=late)

    @property
    def alive(self) -> bool:
        """Whether each step still has a thread; one ends before the engine stops only by a fault."""
        running = {thread.name.rpartition("-")[0] for thread in self._threads if thread.is_alive()}
        return self.stopping or running >= self._loops.keys()

    @property
    def stopping(self) -> bool:
        """Whether no more work should be begun."""
        return self._stopping.is_set()

    def _read(self, steps: Sequence[Step]) -> dict[str, Step]:
        self._current = {step.name: step for step in steps}
        return {loop.name: loop for step in steps for loop in self._loops_of(step)}

    def _loops_of(self, step: Step) -> Iterator[Step]:
        """Return the loops of a step: its work, or listening for job ids and reminding."""
        if self.courier is None or step.remind is None:
            yield step
            return
        listen = partial(self.courier.listen, partial(self._deliver, step.name), name=step.name, slots=step.threads)
        yield Step(name=f"{step.name} by job id", work=listen)
        yield Step(name=step.name, work=step.remind)

    def _run(self, name: str) -> None:
        wake = self._wakes[name]
        while not self.stopping and (loop := self._loops.get(name)) is not None:
            wake.clear()
            _, wait = self._once(loop)
            if not self.stopping:
                wake.wait(self.idle_seconds if wait is None else min(max(wait, 0.0), self.idle_seconds))

    def _deliver(self, name: str) -> None:
        """Run a step for a job id; after an error, rest and run it again, since the id will not come again."""
        while not self.stopping and not self._once(self._current[name])[0]:
            self._stopping.wait(self.rest_seconds)

    def _once(self, step: Step) -> tuple[bool, float | None]:
        """Run a step once; return whether it raised no error, and in how many seconds to run it again."""
        try:
            self.first()
            wait = step.work()
        except Exception as error:  # noqa: BLE001 (one of four: whatever a step meets, the flow goes on)
            log.error("step.failed", step=step.name, reason=f"{type(error).__name__}: {error}")
            return False, self.rest_seconds
        self.wake(*step.then)
        return True, wait
