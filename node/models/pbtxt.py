"""config.pbtxt of the models that are made: what goes in and out of them, in Triton's own words."""

from node.models.served.volume import Chain

VOLUME_CONFIG = """\
# Whole volumes in, {answer} out; 1/chain.json says what is done around the network {name}_net.
name: "{name}"
backend: "python"
max_batch_size: 0
input [{inputs}
]
output [{outputs}
]
"""
ROLE_CONFIG = """
  {{
    name: "{role}"            # index order (slice, row, column{sample})
    data_type: {kind}
    dims: [ -1, -1, -1{samples} ]
    optional: true
  }},
  {{
    name: "{role}_field"            # where the values are no whole numbers
    data_type: TYPE_FP32
    dims: [ -1, -1, -1{samples} ]
    optional: true
  }},
  {{
    name: "{role}_affine"           # (slice, row, column, 1) to (x, y, z, 1) in mm, LPS; none without a place there
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
name: "{name}_net"
backend: "python"
max_batch_size: 0
input [ {{ name: "input", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
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


def volume_config(name: str, chain: Chain) -> str:
    """Return config.pbtxt of a volume model."""
    kind, sample, samples = ("TYPE_UINT8", ", colour", ", 3") if chain.colour else ("TYPE_INT16", "", "")
    inputs = [ROLE_CONFIG.format(role=role, kind=kind, sample=sample, samples=samples) for role in chain.roles]
    outputs = [
        OUTPUT_CONFIG.format(name=one, says=says, kind=kind, dims=dims)
        for one, says, kind, dims in OUTPUTS[chain.answer]
    ]
    return VOLUME_CONFIG.format(name=name, answer=chain.answer, inputs=",".join(inputs), outputs=",".join(outputs))


def net_config(name: str, chain: Chain, axes: int) -> str:
    """Return config.pbtxt of its network, whose tiles have so many axes, tile and channel among them."""
    any_extents, answer = ", ".join(["-1"] * axes), chain.answer
    extents = {"boxes": "-1, -1", "scores": "-1", "classes": "-1", "output": any_extents}
    if answer == "findings":
        extents["output"] = "-1, -1"
    outputs = [
        OUTPUT_CONFIG.format(name=one, says=says, kind=kind, dims=extents[one])
        for one, says, kind in NET_OUTPUTS[answer]
    ]
    return NET_CONFIG.format(name=name, dims=any_extents, outputs=",".join(outputs))
