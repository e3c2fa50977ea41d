"""Stage: run one plugin on the images of one study, with a Triton server."""

from node.infer.demonstration import check_kind, models_asked
from node.infer.job import PREPARE_SECONDS, Order, Performed, Stopwatch, attempt, reported_runs
from node.infer.model_folders import check_models_of
from node.infer.prior_search import Priors, with_prior
from node.infer.run import run

__all__ = [
    "PREPARE_SECONDS",
    "Order",
    "Performed",
    "Priors",
    "Stopwatch",
    "attempt",
    "check_kind",
    "check_models_of",
    "models_asked",
    "reported_runs",
    "run",
    "with_prior",
]
