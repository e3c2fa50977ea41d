"""The engine of one process: threads that each do one step of the river when there is something to do."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

log = structlog.get_logger()

IDLE_SECONDS = 30.0
"""How long a step sleeps at most: whatever it was not told of, it then finds in the ledger."""
STUMBLE_SECONDS = 5.0
"""How long a step rests after an error of its own."""
STOP_SECONDS = 30.0
"""How long steps may take to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One place of the river where work is done.

    `work` does all that is due now, and returns in how many seconds more will be, or None when it cannot know.
    `then` names the steps that may have something to do afterwards. A step with `remind` can be done for job ids that
    a courier brings, of which `remind` has those delivered again that were lost; it returns what `work` does.
    """

    name: str
    work: Callable[[], float | None]
    then: tuple[str, ...] = ()
    threads: int = 1
    remind: Callable[[], float | None] | None = None


class Courier(Protocol):
    """Brings job ids between processes; that one is lost, late, or comes twice does no harm."""

    def listen(self, work: Callable[[], object], *, name: str, slots: int) -> None:
        """Do the work for each id that comes, so many at once, in threads of that name; return when stopped."""

    def stop(self) -> None:
        """Take no more ids; `listen` returns when the work at hand is done."""


@dataclass(slots=True)
class Engine:
    """Runs steps until it is stopped. A lost or repeated wake-up is harmless: every step looks at the ledger.

    Without a courier a step is done when it is due or woken. With one, a step that has a `remind` is done when a job id
    comes, and a wake-up has it look for lost ones.
    """

    steps: Sequence[Step]
    courier: Courier | None = None
    elsewhere: Callable[[str], object] = lambda _name: None
    """Is told the name of a step that another process runs, when it may have something to do."""
    _wakes: dict[str, threading.Event] = field(init=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._wakes = {loop.name: threading.Event() for step in self.steps for loop in self._loops(step)}

    def wake(self, *names: str) -> None:
        """Say that there may be something to do."""
        for name in names:
            if name in self._wakes:
                self._wakes[name].set()
            else:
                self.elsewhere(name)

    def start(self) -> None:
        """Begin to run every step in threads of its own."""
        for loop in [loop for step in self.steps for loop in self._loops(step)]:
            for number in range(loop.threads):
                thread = threading.Thread(target=self._run, args=(loop,), name=f"{loop.name}-{number + 1}")
                self._threads.append(thread)
                thread.start()

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Let every step finish what it is doing, and end; in so many seconds, all together."""
        self._stopping.set()
        self.wake(*self._wakes)
        if self.courier is not None:
            self.courier.stop()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            log.warning("engine.late", steps=late)

    @property
    def stopping(self) -> bool:
        """Whether no more work should be begun."""
        return self._stopping.is_set()

    def _loops(self, step: Step) -> Iterator[Step]:
        """Return what the threads of a step do again and again: its work, or listening and reminding."""
        if self.courier is None or step.remind is None:
            yield step
            return
        listen = partial(self.courier.listen, partial(self._deliver, step), name=step.name, slots=step.threads)
        yield Step(name=f"{step.name} by job id", work=listen)
        yield Step(name=step.name, work=step.remind)

    def _run(self, step: Step) -> None:
        wake = self._wakes[step.name]
        while not self.stopping:
            wake.clear()
            _, wait = self._once(step)
            if not self.stopping:
                wake.wait(IDLE_SECONDS if wait is None else min(max(wait, 0.0), IDLE_SECONDS))

    def _deliver(self, step: Step) -> None:
        """Do a step's work for a job id; after an error, rest and do it again, since the id will not come again."""
        while not self.stopping and not self._once(step)[0]:
            self._stopping.wait(STUMBLE_SECONDS)

    def _once(self, step: Step) -> tuple[bool, float | None]:
        """Do a step's work; return whether it went well, and in how many seconds to do it again."""
        try:
            wait = step.work()
        except Exception as error:  # noqa: BLE001 (one of three: whatever a step meets, the river goes on)
            log.error("step.failed", step=step.name, reason=f"{type(error).__name__}: {error}")
            return False, STUMBLE_SECONDS
        self.wake(*step.then)
        return True, wait
