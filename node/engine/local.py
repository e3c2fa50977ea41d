"""The engine on one machine: threads that each do one step of the river when there is something to do."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

IDLE_SECONDS = 30.0
"""How long a step sleeps that says nothing of when it is next due; a wake-up shortens it."""
STUMBLE_SECONDS = 5.0
"""How long a step rests after an error of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One place of the river where work is done.

    `work` does all that is due now, and returns in how many seconds more will be, or None when it cannot know.
    `then` names the steps that may have something to do afterwards.
    """

    name: str
    work: Callable[[], float | None]
    then: tuple[str, ...] = ()
    threads: int = 1


@dataclass(slots=True)
class Engine:
    """Runs steps until it is stopped. A lost or repeated wake-up is harmless: every step looks at the ledger."""

    steps: Sequence[Step]
    elsewhere: Callable[[str], object] = lambda _name: None
    """Is told the name of a step that another process runs, when it may have something to do."""
    _wakes: dict[str, threading.Event] = field(init=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._wakes = {step.name: threading.Event() for step in self.steps}

    def wake(self, *names: str) -> None:
        """Say that there may be something to do."""
        for name in names:
            if name in self._wakes:
                self._wakes[name].set()
            else:
                self.elsewhere(name)

    def start(self) -> None:
        """Begin to run every step in threads of its own."""
        for step in self.steps:
            for number in range(step.threads):
                thread = threading.Thread(target=self._run, args=(step,), name=f"{step.name}-{number + 1}")
                self._threads.append(thread)
                thread.start()

    def stop(self, *, seconds: float = 60) -> None:
        """Let every step finish what it is doing, and end."""
        self._stopping.set()
        self.wake(*self._wakes)
        for thread in self._threads:
            thread.join(seconds)

    @property
    def stopping(self) -> bool:
        """Whether no more work should be begun."""
        return self._stopping.is_set()

    def _run(self, step: Step) -> None:
        wake = self._wakes[step.name]
        while not self.stopping:
            wake.clear()
            wait = self._once(step)
            if not self.stopping:
                wake.wait(IDLE_SECONDS if wait is None else max(wait, 0.0))

    def _once(self, step: Step) -> float | None:
        try:
            wait = step.work()
        except Exception as error:  # noqa: BLE001 (one of three: whatever a step meets, the river goes on)
            log.error("step.failed", step=step.name, reason=f"{type(error).__name__}: {error}")
            return STUMBLE_SECONDS
        self.wake(*step.then)
        return wait
