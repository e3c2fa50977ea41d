"""What a reader finds in what people bring: the network, and what is to be done around it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.models.network_file import Network
from node.serving.chains import AnyChain


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A network with all that must be known to serve it.

    Parameters
    ----------
    example
        Shape (tile, channel, …) of one tile as the network takes it.
    labels
        Names of its classes or findings, without the background; empty where the source tells none.
    modality
        Of the images it was made for; empty where the source tells none.
    stated
        What the source calls the modality, in its own words, or nothing; None for a file that comes alone.
    remarks
        What whoever adds it should know, each a sentence for the model card.
    """

    network: Network
    chain: AnyChain
    example: tuple[int, ...]
    labels: tuple[str, ...] = ()
    modality: str = ""
    stated: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What `isocenter model add` was given.

    Parameters
    ----------
    chain
        A TOML file with fields of `Chain`, which go before what the source says itself.
    builder
        The network of weights that come alone.
    trust
        Whether code that comes with it may be run.
    """

    path: Path
    chain: Path | None = None
    builder: str = ""
    trust: bool = False


Reader = Callable[[Source], Brought]
