"""config.pbtxt of the models that are made: what goes in and out of them, in Triton's own words."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.models.network_file import Names
from node.serving.chains import AnyChain
from node.serving.input_names import input_names

VOLUME_CONFIG = """\
# Whole volumes in, {answer} out; 1/chain.json says what is done around {network}.
name: "{name}"
backend: "python"
max_batch_size: 0
dynamic_batching {{ priority_levels: 3 default_priority_level: 2 }}   # of requests that wait, urgent ones go first
{parameters}input [{inputs}
]
output [{outputs}
]
"""
PARAMETER = """\
parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}   # {comment}
"""
ROLE_CONFIG = """
  {{
    name: "{names.image}"            # index order (slice, row, column{sample})
    data_type: {kind}
    dims: [ -1, -1, -1{samples} ]
    optional: true
  }},
  {{
    name: "{names.floats}"      # in its place, where values are no whole numbers
    data_type: TYPE_FP32
    dims: [ -1, -1, -1{samples} ]
    optional: true
  }},
  {{
    name: "{names.affine}"           # (slice, row, column, 1) to (x, y, z, 1) in mm, LPS; left out where unknown
    data_type: TYPE_FP64
    dims: [ 4, 4 ]
    optional: true
  }}"""
OUTPUT_CONFIG = """
  {{
    name: "{name}"           # {says}
    data_type: {kind}
    dims: [ {dims} ]
  }}"""
GRID = ("affine", "of the grid that it lies on", "TYPE_FP64", "4, 4")
OUTPUTS = {
    "labels": (
        ("labels", "on the grid of the first: 0 none, n the n-th segment", "TYPE_UINT8", "-1, -1, -1"),
        GRID,
    ),
    "findings": (
        ("probabilities", "of each finding", "TYPE_FP32", "-1"),
        ("present", "which of them are", "TYPE_BOOL", "-1"),
    ),
    "boxes": (
        (
            "boxes",
            "begin and end: slice, row, column, in voxels from the first one's outer edge",
            "TYPE_FP32",
            "-1, 6",
        ),
        ("scores", "of each", "TYPE_FP32", "-1"),
        ("classes", "of each, from 0", "TYPE_INT64", "-1"),
        GRID,
    ),
    "image": (("values", "on the grid of the first input", "TYPE_FP32", "-1, -1, -1"), GRID),
}
"""What a volume model gives, by the answer of its chain: name, what it is, type and extents."""
NET_CONFIG = """\
# The network alone: (tile, channel, …) in, its answer out.
name: "{name}"
backend: "{backend}"
max_batch_size: 0
input [ {{ name: "{names.input}", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
output [{outputs}
]
"""
NET_OUTPUTS = {
    "labels": (("output", "(tile, class, …)", "TYPE_FP32"),),
    "findings": (("output", "(tile, finding)", "TYPE_FP32"),),
    "boxes": (
        ("boxes", "of one tile: where each begins, and where it ends", "TYPE_FP32"),
        ("scores", "of each", "TYPE_FP32"),
        ("classes", "of each, from 0", "TYPE_INT64"),
    ),
    "image": (("output", "(tile, channel, …)", "TYPE_FP32"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """The model that runs the network of a volume model: its name, and those of its input and output."""

    name: str
    names: Names


def volume_config(
    name: str, chain: AnyChain, network: OwnModel | None, warm_up: Sequence[int] = (), *, kind: str
) -> str:
    """Return config.pbtxt of a volume model.

    Parameters
    ----------
    kind
        What is known of its weights, as in plugin.toml.
    network
        The model that runs its network; None where the volume model itself does.
    warm_up
        Shape of the tile of zeros that a network in the volume model is asked once when the model is loaded.
    """
    parameters = [("kind", kind, "what is known of its weights, as in plugin.toml")]
    if network is not None:
        parameters += [
            ("network", network.name, "the model that runs the network"),
            ("network_input", network.names.input, "what its input is called"),
            ("network_output", network.names.output, "what its output is called"),
        ]
    elif warm_up:
        comment = "asked once when it is loaded, so that the first study does not wait for it"
        parameters += [("warm_up", ", ".join(map(str, warm_up)), comment)]
    values, sample, samples = ("TYPE_UINT8", ", colour", ", 3") if chain.colour else ("TYPE_INT16", "", "")
    inputs = [
        ROLE_CONFIG.format(names=input_names(role, chain.roles), kind=values, sample=sample, samples=samples)
        for role in chain.roles
    ]
    outputs = [
        OUTPUT_CONFIG.format(name=output, says=says, kind=given, dims=dims)
        for output, says, given, dims in OUTPUTS[chain.answer]
    ]
    return VOLUME_CONFIG.format(
        name=name,
        answer=chain.answer,
        network=f"the network {network.name}" if network else "its network",
        parameters="".join(
            PARAMETER.format(key=key, value=value, comment=comment) for key, value, comment in parameters
        ),
        inputs=",".join(inputs),
        outputs=",".join(outputs),
    )


def net_config(name: str, chain: AnyChain, axes: int, names: Names, backend: str) -> str:
    """Return config.pbtxt of its network, whose tiles have so many axes, tile and channel among them."""
    any_extents, answer = ", ".join(["-1"] * axes), chain.answer
    extents = {"boxes": "-1, -1", "scores": "-1", "classes": "-1", "output": any_extents}
    if answer == "findings":
        extents["output"] = "-1, -1"
    outputs = [
        OUTPUT_CONFIG.format(name=names.output if key == "output" else key, says=says, kind=kind, dims=extents[key])
        for key, says, kind in NET_OUTPUTS[answer]
    ]
    words = {"name": name, "backend": backend, "names": names}
    return NET_CONFIG.format(**words, dims=any_extents, outputs=",".join(outputs))
