"""The catalogue of public models: every entry holds, and states where each fact comes from."""

import re
from collections import Counter

import pytest
from pydantic import ValidationError

from node.errors import ConfigError
from node.models.architectures import ARCHITECTURES
from node.models.catalogue import Checksum, Entry, entries, entry_of, search
from node.serving.chain import Chain
from tests.peers import ROOT

SERVED = {name: entry for name, entry in entries().items() if not entry.missing}
WANTED = {
    "total", "total_3mm", "total_6mm", "total_mr", "body", "lung_vessels", "lung_nodules", "liver_lesions",
    "liver_vessels", "cerebral_bleed", "heartchambers", "tissue_types", "spleen", "prostate", "whole_body_ct", "brats",
    "ventricular_short_axis", "lung_nodule_detection", "breast_density", "pathology_tumor", "endoscopic_tool",
    "pancreas_dints", "multi_organ", "swin_unetr_btcv", "xrv_densenet121", "lungmask_r231", "lwnet", "meshnet",
    "hd_bet",
}  # fmt: skip
"""What people ask for first."""


def test_the_models_that_people_ask_for_are_there() -> None:
    assert entries().keys() >= WANTED


def test_no_two_models_make_plugins_of_one_name() -> None:
    ours = [path.name for path in (ROOT / "plugins").iterdir() if (path / "plugin.toml").is_file()]
    names = Counter([*(name for entry in SERVED.values() for name in entry.plugins), *ours])
    assert not [name for name, times in names.items() if times > 1]


@pytest.mark.parametrize("name", entries())
def test_every_fact_names_a_page_of_one_version(name: str) -> None:
    """A page of a repository is named by its commit, so that it stays what it was."""
    entry = entry_of(name)
    facts = [entry.use, entry.licence, *entry.figure, *entry.download]
    pages = [fact.source for fact in (*facts, *([entry.validated] if entry.validated else []))]
    assert all(re.search(r"/blob/[0-9a-f]{40}/", page) for page in pages if page.startswith("https://github.com/"))


@pytest.mark.parametrize("name", SERVED)
def test_what_an_entry_asks_for_exists(name: str) -> None:
    entry = SERVED[name]
    assert (entry.network in ARCHITECTURES) is (entry.adapter == "network")
    if entry.adapter == "network":
        Chain.of(entry.chain)
        assert entry.labels
    if entry.adapter == "nnunet":
        assert set(entry.chain) <= {"orientation"}
        assert all(each.file.endswith(".zip") for each in entry.download)
    for named in re.findall(r"tests/\S+\.py", entry.tried):
        assert (ROOT / named).is_file()


def test_where_commercial_use_is_forbidden_the_entry_says_so() -> None:
    assert {name for name, entry in entries().items() if entry.licence.commercial == "no"} == {
        "heartchambers", "multi_organ", "tissue_types", "tissue_types_mr",
    }  # fmt: skip


def test_a_search_finds_models_by_what_they_are_for() -> None:
    assert {"liver_lesions", "liver_vessels"} <= {entry.name for entry in search("Liver CT")}
    assert [entry.name for entry in search("retina")] == ["lwnet"]
    assert search("nothing of the kind") == []
    assert len(search("")) == len(entries())


def test_a_name_that_is_not_there_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"no model 'lung_nodule'; did you mean lung_nodules\?"):
        entry_of("lung_nodule")


FACTS = {
    "name": "small",
    "version": "1",
    "adapter": "monai",
    "plugin": "small",
    "use": {"text": "Spleen", "modality": "CT", "source": "https://example.org/use"},
    "licence": {"name": "MIT", "commercial": "yes", "source": "https://example.org/licence"},
    "download": [{"file": "a.zip", "url": "https://example.org/a.zip", "source": "https://example.org/files"}],
}
MISTAKES = {
    "a fact without its source": ({"licence": {"name": "MIT", "commercial": "yes"}}, "licence.source"),
    "a page that is none": ({"paper": "see the readme"}, "is no address of a page"),
    "a checksum that is none": (
        {"download": [{**FACTS["download"][0], "checksum": "sha256:abc"}]}, "is no checksum: write sha256:",
    ),
    "a file that nobody can have": (
        {"download": [{"file": "a.zip", "source": "https://example.org/files"}]}, "or how says",
    ),
    "not served, without a reason": ({"adapter": "none"}, "needs missing"),
    "a network without a name": ({"adapter": "network"}, "needs the name of the network"),
    "two files without parts": ({"download": FACTS["download"] * 2}, "several files need a part each"),
    "an unknown key": ({"licence_of_weights": "MIT"}, "Extra inputs"),
    "a file in another folder": ({"download": [{**FACTS["download"][0], "file": "../a.zip"}]}, "download.0.file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_entry_with_a_mistake_is_refused(mistake: str) -> None:
    words, said = MISTAKES[mistake]
    Entry.model_validate(FACTS)
    with pytest.raises(ValidationError, match=said):
        Entry.model_validate({**FACTS, **words})


def test_a_checksum_fits_by_its_beginning_and_says_whether_it_is_whole() -> None:
    part, whole = Checksum.of("sha256:d5d2fc3d"), Checksum.of("sha1:" + "a" * 40)
    assert (part.whole, whole.whole) == (False, True)
    assert part.fits("d5d2fc3d" + "0" * 56)
    assert not part.fits("0" * 64)
