"""The answers of a child process: lines of JSON. The node reads them as data, and never runs or unpickles them.

A plugin runs in the child, so the child's answers are a guest's. A line is `{"slot": "released"}`, `{"error": NAME,
"text": TEXT}` with the name of an error in `node.errors`, or `{"answer": VALUE}`.
"""

import json
import os
import select
import time
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from node import errors
from node.errors import NodeError, PluginFailed
from node.plain_text import plain

Answer = TypeVar("Answer")

LARGEST = 64 * 2**20
"""Bytes of one answer; those of jobs have a few kilobytes."""
READ_BYTES = 65536


class SlotReleased:
    """The message of a child whose remaining work needs no slot; its result follows."""


def send_slot_released(descriptor: int) -> None:
    """Tell the node that the remaining work needs no slot."""
    _send(descriptor, {"slot": "released"})


def send_error(descriptor: int, error: NodeError) -> None:
    """Send an error of the node by its name."""
    _send(descriptor, {"error": type(error).__name__, "text": plain(str(error))})


def send_answer(descriptor: int, answer: Answer, returns: type[Answer]) -> None:
    """Send an answer; PluginFailed where it is none of the type that was asked for."""
    try:
        value = TypeAdapter(returns).dump_python(answer, mode="json", warnings="error")
    except ValueError as error:
        raise PluginFailed(f"its answer is no {returns.__name__}: {error}") from error
    _send(descriptor, {"answer": value})


def _send(descriptor: int, message: dict[str, Any]) -> None:
    left = memoryview(json.dumps(message).encode() + b"\n")
    while left:
        left = left[os.write(descriptor, left) :]


class ChildAnswers:
    """Reads the lines of one child, as they come."""

    def __init__(self, descriptor: int, *, largest: int = LARGEST) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._largest = largest
        self._line = bytearray()

    def read(self, returns: type[Answer], seconds: float) -> Iterator[Answer | SlotReleased]:
        """Yield the messages that come in so many seconds, and no more after the answer.

        Raises
        ------
        NodeError
            The error that the child sent.
        PluginFailed
            What it sent is no message, is no `returns`, or is larger than `largest` bytes.
        EOFError
            It has ended without an answer.
        """
        until = time.monotonic() + seconds
        while select.select([self._descriptor], [], [], max(until - time.monotonic(), 0.0))[0]:
            for line in self._lines():
                message = _message(line, returns)
                yield message
                if not isinstance(message, SlotReleased):
                    return

    def _lines(self) -> list[bytes]:
        """Return the lines that are whole by now."""
        content = os.read(self._descriptor, READ_BYTES)
        if not content:
            raise EOFError
        self._line += content
        if len(self._line) > self._largest:
            raise PluginFailed(f"its answer is larger than {self._largest // 2**20} MiB")
        *lines, rest = self._line.split(b"\n") if b"\n" in content else (self._line,)
        self._line = rest if isinstance(rest, bytearray) else bytearray(rest)
        return [bytes(line) for line in lines]


def _message(line: bytes, returns: type[Answer]) -> Answer | SlotReleased:
    try:
        message = json.loads(line)
        if "error" in message:
            raise _error(str(message["error"]), str(message["text"]))
        if "slot" in message:
            return SlotReleased()
        return TypeAdapter(returns).validate_python(message["answer"])
    except (ValidationError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PluginFailed(plain(f"its process sent what is no answer: {error}")) from error


def _error(name: str, text: str) -> NodeError:
    """Return an error of `node.errors` by its name; any other name is a failure of the plugin."""
    kind = getattr(errors, name, None)
    known = isinstance(kind, type) and issubclass(kind, NodeError)
    return kind(plain(text)) if known and kind is not None else PluginFailed(plain(text))
