"""Errors of gRPC and of Triton become errors of the node: transient, or for a person to correct."""

from collections.abc import Iterator
from contextlib import contextmanager

from tritonclient.utils import InferenceServerException

from node.errors import ModelRefused, TritonUnavailable

CLOCK = {  # https://grpc.github.io/grpc/core/md_doc_statuscodes.html; every other status is a refusal
    "StatusCode.UNAVAILABLE": "cannot be reached",
    "StatusCode.DEADLINE_EXCEEDED": "did not answer in time",
    "StatusCode.RESOURCE_EXHAUSTED": "is overloaded",
    "StatusCode.CANCELLED": "broke off",
}
NO_LOADING = "explicit model load"  # Triton says UNAVAILABLE for a server whose model control mode is not explicit
TOO_LARGE = "larger than max"  # gRPC says RESOURCE_EXHAUSTED for a message that will never fit
PERSON = (NO_LOADING, TOO_LARGE)
UNLOADED = "has no available versions"  # of a model that was ready a moment ago: its server ends, or has unloaded it
LOADING = "currently loading"  # somebody else has asked for the same model and is being served


@contextmanager
def translated(url: str, model: str | None = None) -> Iterator[None]:
    """Translate an error of gRPC: `CLOCK` has the transient ones, every other error is for a person."""
    try:
        yield
    except InferenceServerException as error:
        message = error.message() or ""
        reason = sentence_of(message)
        about = f"model {model} at {url}" if model else f"Triton at {url}"
        later = "has just been unloaded" if UNLOADED in message else CLOCK.get(error.status())
        if later and not any(words in message for words in PERSON):
            raise TritonUnavailable(f"{about} {later}: {reason}.") from error
        raise ModelRefused(f"{about} refused: {reason}.") from error


def sentence_of(message: str | None) -> str:
    """Triton's reason without its traceback and without the phrases that it wraps around a Python error."""
    text = (message or "").partition("\n\nAt:")[0]
    for phrase in (", message: ", " state: Internal: ", " state: Invalid argument: "):
        text = text.rpartition(phrase)[2]
    return " ".join(text.split())[:400].rstrip(" ;.")
