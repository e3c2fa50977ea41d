"""What a plugin makes of a pair, by the node's own path, and the table of many."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import NotSuitable, testing
from node.host import Kind, Plugin, find_plugins
from node.images.series import Series
from node.infer.run import run
from node.triton import Triton
from tests.peers import ROOT
from tests.trust.pairs import PURPOSES, Pair
from tests.trust.real_images import wrapped

IMPLAUSIBLE = "the answer is not plausible"
"""How the reason begins with which an answer is withheld by the table of its plugin."""
REFUSED, ANSWERED, FAILED = "refused", "answered", "failed"
GUARD = "guard_"
LOADING_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a pair: refused, answered or failed, and the reason."""

    pair: Pair
    outcome: str
    reason: str = ""

    @property
    def as_wanted(self) -> bool:
        """Whether a right image was answered, or a wrong one was not."""
        return (self.outcome == ANSWERED) == self.pair.right


class RandomNetworks:
    """A Triton whose models answer at random, in the shapes and types of their answers; guards answer as they are."""

    def __init__(self, triton: Triton) -> None:
        self.triton, self.random = triton, np.random.default_rng(5)

    def infer(self, model: str, /, **inputs: Any) -> dict[str, NDArray[Any]]:
        """Ask, and put random values in the place of the answer."""
        answer = self.triton.infer(model, **inputs)
        return answer if model.startswith(GUARD) else {name: self._random(value) for name, value in answer.items()}

    def _random(self, value: NDArray[Any]) -> NDArray[Any]:
        if value.dtype.kind in "OSU" or not value.size:
            return value
        if value.dtype.kind in "iub":
            return self.random.integers(0, int(value.max()) + 2, value.shape).astype(value.dtype)
        low, high = float(np.nanmin(value)), float(np.nanmax(value))
        bounds = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
        return self.random.uniform(*bounds, value.shape).astype(value.dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.triton, name)


@cache
def plugins() -> Mapping[str, Plugin]:
    """Return the plugins that are judged."""
    return {name: plugin for name, plugin in find_plugins([ROOT / "plugins"]).items() if name in PURPOSES}


def judged(pair: Pair, triton: Triton, *, permitted: bool = True, at_random: bool = False) -> Verdict:
    """Run the plugin of a pair as the node does.

    permitted: a demonstration network is asked about images that are not synthetic. at_random: networks answer at
    random; deterministic methods answer as they are.
    """
    plugin = plugins()[pair.plugin]
    triton.prepare(plugin.manifest.models, LOADING_SECONDS)
    asked: Any = RandomNetworks(triton) if at_random and plugin.manifest.kind is not Kind.DETERMINISTIC else triton
    with tempfile.TemporaryDirectory() as folder:
        try:
            inputs = inputs_of(pair, plugin, Path(folder))
            results = run(plugin, inputs, asked, allow_demonstration=permitted)
        except Exception as error:  # noqa: BLE001 - a plugin's error parks the job, and is a line of the table
            return Verdict(pair=pair, outcome=FAILED, reason=f"{type(error).__name__}: {error}")
    reasons = [result.reason for result in results if isinstance(result, NotSuitable)]
    return Verdict(pair=pair, outcome=REFUSED if reasons else ANSWERED, reason=reasons[0] if reasons else "")


def inputs_of(pair: Pair, plugin: Plugin, folder: Path) -> dict[str, Series]:
    """Return the inputs of a run: every role that must be there has the pair's image, the prior its own."""
    purpose = PURPOSES[pair.plugin]
    modality = purpose.modality if pair.prior is None else pair.image.modality
    stacks = testing.stacks(testing.write(wrapped(pair.image, modality, part=purpose.part), folder / "now"))
    if pair.prior is not None:
        before = wrapped(pair.prior, modality, part=purpose.part, seed="before")
        (earlier,) = testing.stacks(testing.write(before, folder / "before"))
        return {"image": stacks[0], "prior": earlier}
    roles = {name: role for name, role in plugin.manifest.present.items() if not role.optional}
    several = any(role.several for role in roles.values())
    return plugin.named(stacks) if several else dict.fromkeys(roles, stacks[0])


def counts(verdicts: Sequence[Verdict], day: str) -> dict[str, Any]:
    """Return by plugin what docs/generate.py writes into its card: the day, right and wrong images, every exception."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(verdict.pair.plugin for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.pair.plugin == name]
        right, wrong = ([verdict for verdict in mine if verdict.pair.right is side] for side in (True, False))
        found[name] = {
            "day": day,
            "right": [sum(verdict.as_wanted for verdict in right), len(right)],
            "withheld": sum(verdict.reason.startswith(IMPLAUSIBLE) for verdict in right),
            "wrong": [sum(verdict.as_wanted for verdict in wrong), len(wrong)],
            "exceptions": [exception(verdict) for verdict in mine if not verdict.as_wanted],
        }
    return found


def exception(verdict: Verdict) -> str:
    """Return one line about an answer that is not as it should be."""
    reason = f": {' '.join(verdict.reason.split())[:160]}" if verdict.reason else ""
    return f"{verdict.outcome} {verdict.pair.name}{reason}"


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield a table, a row per plugin, and then every exception by name."""
    yield "| plugin | kind | right images answered | wrong images not answered |"
    yield "|---|---|---|---|"
    for name, plugin in plugins().items():
        mine = [verdict for verdict in verdicts if verdict.pair.plugin == name]
        right, wrong = ([verdict for verdict in mine if verdict.pair.right is side] for side in (True, False))
        if mine:
            counts = (f"{sum(verdict.as_wanted for verdict in side)} of {len(side)}" for side in (right, wrong))
            yield f"| `{name}` | {plugin.manifest.kind} | {' | '.join(counts)} |"
    yield ""
    for verdict in verdicts:
        if not verdict.as_wanted or verdict.outcome == FAILED:
            yield f"- `{verdict.pair.plugin}` {exception(verdict)}"
