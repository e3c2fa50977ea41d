"""What a plugin's process answers is data: nothing of it runs in the node, and no answer holds a slot."""

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import NoneType

import pytest

from node.engine import run_in_child
from node.engine.child_answers import ChildAnswers
from node.errors import BrokenResult, JobDied, NodeError, PluginFailed, TritonUnavailable
from node.infer import Performed
from node.plain_text import LONGEST, plain
from node.records import ResultObject
from tests.unit.test_engine import PATIENCE, always

PERFORMED = Performed(
    objects=(
        ResultObject(
            sop_instance_uid="2.25.1", sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4", series_uid="2.25.9", kind="SEG",
            transfer_syntax_uid="1.2.840.10008.1.2.1", path="objects/a.dcm",
        ),
    ),
    remarks=("one stack was left out",),
    timing={"infer": 1.25},
    recipients={"2.25.1": ("PACS", "ARCHIVE")},
)  # fmt: skip


class Malice:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def answered(sent: bytes, *, seconds: float = PATIENCE) -> int:
    """Return what the node makes of bytes that a process sends in place of an answer."""
    return run_in_child(_send, (sent,), returns=int, seconds=seconds, beat=always, beat_seconds=0.05)


def _send(sent: bytes) -> int:
    """Send bytes as a plugin could that found the descriptor, and end, or hang where they are no whole line."""
    descriptor = child_process_pipe()
    os.write(descriptor, sent)
    if not sent.endswith(b"\n"):
        time.sleep(600)
    os._exit(0)


def child_process_pipe() -> int:
    from node.engine.child_process import _parent

    return _parent[0].fileno()


def test_a_performed_job_comes_back_as_it_was() -> None:
    assert run_in_child(_performed, (), returns=Performed, seconds=PATIENCE, beat=always) == PERFORMED


def _performed() -> Performed:
    return PERFORMED


@pytest.mark.parametrize("kind", [BrokenResult, TritonUnavailable])
def test_an_error_keeps_its_kind_and_so_who_acts_next(kind: type[NodeError]) -> None:
    line = json.dumps({"error": kind.__name__, "text": "why"}).encode() + b"\n"
    with pytest.raises(kind, match=r"^why$"):
        answered(line)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    content = pickle.dumps(Malice(mark)).replace(b"\n", b" ")
    for sent in (content + b"\n", len(content).to_bytes(4, "big") + content + b"\n"):
        with pytest.raises(PluginFailed, match="sent what is no answer"):
            answered(sent)
    assert not mark.exists()


@pytest.mark.parametrize(
    "sent", [b"[]\n", b"7\n", b"{}\n", b'{"answer": "seven"}\n', b'{"error": 1}\n', b"[" * 100_000 + b"\n"]
)
def test_what_is_no_answer_is_the_plugins_failure(sent: bytes) -> None:
    with pytest.raises(PluginFailed, match="sent what is no answer"):
        answered(sent)


@pytest.mark.parametrize("name", ["NodeError_", "os", "Any", "exit"])
def test_an_error_that_the_node_does_not_have_is_the_plugins_failure(name: str) -> None:
    with pytest.raises(PluginFailed, match="why"):
        answered(json.dumps({"error": name, "text": "why"}).encode() + b"\n")


def test_half_an_answer_holds_the_slot_no_longer_than_the_time_limit() -> None:
    with pytest.raises(JobDied, match="longer than its time limit of 2 s"):
        answered(b'{"answer": 7', seconds=2)


def test_an_answer_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(b"x" * 2**22)
    with sent.open("rb") as file, pytest.raises(PluginFailed, match="larger than 1 MiB"):
        list(ChildAnswers(file.fileno(), largest=2**20).read(int, PATIENCE))


def test_a_result_that_is_not_of_the_type_is_the_plugins_failure() -> None:
    with pytest.raises(PluginFailed, match="its answer is no int"):
        run_in_child(str, ("seven",), returns=int, seconds=PATIENCE, beat=always)  # type: ignore[type-var]


def test_an_error_is_short_and_without_control_characters() -> None:
    with pytest.raises(PluginFailed) as error:
        run_in_child(_fail, (), returns=NoneType, seconds=PATIENCE, beat=always)
    text = str(error.value)
    assert len(text) <= LONGEST
    assert "\x1b" not in text
    assert "\n" not in text
    assert text.endswith(f"(test_child_answers.py, line {_fail.__code__.co_firstlineno + 1})")


def _fail() -> None:
    raise ValueError("\x1b[2Jall\nis well" + "x" * 100_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("two\nlines", "two lines"), ("\x1b[31mred\x07", "[31mred"), ("a\u202eb", "ab"), ("Müller µm ✓", "Müller µm ✓")],
)
def test_plain_text_is_one_line_that_no_terminal_obeys(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_long_text_is_cut() -> None:
    assert len(plain("x" * 5000)) == LONGEST
    assert plain("x" * 5000).endswith("[…]")
