"""Read routes.toml: which images go to which plugins, where the results go, and when a study is complete."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from node.errors import ConfigError
from node.host import Plugin
from node.images.predicates import When, found, known_keyword, mismatch
from node.images.series import Series
from node.records import QuietTime
from node.route.not_clinical import set_aside
from node.toml_files import meant, read_toml


class Evidence(BaseModel):
    """Evidence that a study is complete, so that the node need not wait the full `quiet_seconds`.

    `counted` names the attribute that says how many instances the series has, such as ImagesInAcquisition or
    NumberOfSeriesRelatedInstances; `released` asks that every association that brought the study was released, and that
    every instance refused on them has come again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    counted: Annotated[str, BeforeValidator(known_keyword)] | None = None
    released: bool = False
    quiet_seconds: float = Field(default=1.0, ge=0)


class Route(BaseModel):
    """One `[[route]]`.

    `allow_demonstration` lets plugins of kind C, whose networks were trained on phantoms, run on images of patients.
    All destinations of such a route are marked `test`, and every picture of the results has a notice.
    `report_not_suitable` has the node send a report of images that a plugin cannot analyse. Without it the reason
    stands in the story of the study, and is sent only where an earlier report of the plugin has to be replaced.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64)
    when: When
    plugins: tuple[str, ...] = Field(min_length=1)
    to: tuple[str, ...] = Field(min_length=1)
    priority: int = Field(default=0, ge=-10, le=10)
    stable: Evidence | None = None
    allow_demonstration: bool = False
    report_not_suitable: bool = False

    def mismatch(self, series: Series) -> str | None:
        """Return in one sentence why a stack does not match or is no clinical image, or None when it matches."""
        return mismatch(self.when, series) or set_aside(self.when, series)


class _RoutesFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    route: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """All routes, with the plugins they name."""

    routes: tuple[Route, ...]
    plugins: Mapping[str, Plugin]
    quiet_seconds: float

    @property
    def models(self) -> list[str]:
        """The models of the plugins that routes name, in the order of the routes."""
        names = dict.fromkeys(name for route in self.routes for name in route.plugins)
        return list(dict.fromkeys(model for name in names for model in self.plugins[name].manifest.models))

    def wants(self, series: Series) -> bool:
        """Return whether a route sends a stack to a plugin that has a role for it."""
        return any(
            mismatch(role.when, series) is None
            for route in self.routes
            if route.mismatch(series) is None
            for name in route.plugins
            for role in self.plugins[name].manifest.series.values()
        )

    def patience(
        self, arrived: Sequence[Series], *, released: bool, receiving: bool = False, lacking: bool = False
    ) -> QuietTime:
        """Return how long to wait for more images of a study after those in `arrived`: shorter if there is evidence.

        The time is shorter only if every route that matches a series has its evidence; a route without `stable` never
        has. A route that asks for `released` waits as long as an association brings the study. With `lacking`, an
        instance is missing that may come again, and the time is never shorter.
        """
        waiting = QuietTime(self.quiet_seconds, f"nothing came for {self.quiet_seconds:g} s")
        asking = [route for route in self.routes if any(route.mismatch(series) is None for series in arrived)]
        if receiving and any(route.stable and route.stable.released for route in asking):
            return QuietTime(inf, "an association still brings it")
        proofs = [self._proof(route, arrived, released=released) for route in asking]
        if lacking or not proofs or None in proofs:
            return waiting
        seconds = max(route.stable.quiet_seconds for route in asking if route.stable)
        return QuietTime(min(seconds, self.quiet_seconds), "; ".join(proof for proof in proofs if proof))

    def _proof(self, route: Route, arrived: Sequence[Series], *, released: bool) -> str | None:
        """Return the evidence that all series of a route have arrived, or None if there is none yet."""
        evidence = route.stable
        matching = [series for series in arrived if route.mismatch(series) is None]
        if evidence is None or (evidence.released and not released) or not self._roles_filled(route, matching):
            return None
        counts = [_counted(evidence.counted, series) for series in matching] if evidence.counted else []
        if None in counts:
            return None
        shown = [count for count in counts if count] + (["its associations are released"] if evidence.released else [])
        return f"route {route.name!r} has its series: {', '.join(shown) or f'{len(matching)} of them'}"

    def _roles_filled(self, route: Route, matching: Sequence[Series]) -> bool:
        roles = [role for name in route.plugins for role in self.plugins[name].manifest.present.values()]
        needed = [role for role in roles if not role.optional]
        return all(any(mismatch(role.when, series) is None for series in matching) for role in needed)


def _counted(keyword: str, series: Series) -> str | None:
    """Return "100 of 100 images" when a series has as many instances as its header says, else None."""
    expected = found(series.header, keyword)
    try:
        complete = 0 < int(str(expected)) <= len(series.frames)
    except ValueError:
        return None
    return f"{len(series.frames)} of {expected} images" if complete else None


def read_routes(
    path: Path,
    *,
    plugins: Mapping[str, Plugin],
    destinations: Sequence[str],
    quiet_seconds: float,
    test_destinations: Collection[str] = (),
) -> Routes:
    """Read routes.toml.

    Raises
    ------
    ConfigError
        It names a plugin or destination that does not exist, or a route that allows demonstrations sends to a
        destination that is not among `test_destinations`.
    """
    routes = read_toml(path, _RoutesFile).route
    names = [route.name for route in routes]
    for route in routes:
        if names.count(route.name) > 1:
            raise ConfigError(f"{path}: two routes are called {route.name!r}; give each a name of its own")
        for kind, asked, known in (("plugin", route.plugins, plugins), ("destination", route.to, destinations)):
            for name in asked:
                if name not in known:
                    there = f"{', '.join(sorted(known)) or 'none'}{meant(name, known)}"
                    raise ConfigError(f"{path}: route {route.name!r} names the {kind} {name!r}; there are: {there}")
        if route.allow_demonstration and (others := [name for name in route.to if name not in test_destinations]):
            raise ConfigError(
                f"{path}: route {route.name!r} has allow_demonstration, and sends to {', '.join(others)}: such a "
                "route may send only to destinations with test = true, which are not read for patients"
            )
    return Routes(routes=routes, plugins=plugins, quiet_seconds=quiet_seconds)
