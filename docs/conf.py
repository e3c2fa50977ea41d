"""How Sphinx builds these pages: `sphinx-build -W -n docs build/docs`."""

import tomllib
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

project = "isocenter"
author = copyright = "The isocenter contributors"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["*.py"]
html_theme = "furo"
html_title = f"isocenter {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False

myst_heading_anchors = 3  # so that `page.md#heading` is checked
default_role = "literal"  # docstrings write `name` for code, as Markdown does

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings explain parameters in words
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(collections|numpy|pydicom)\..*"),  # other projects' pages are not here
    ("py:class", r"node\.(images|triton)\..*"),  # types of attributes that plugins do not use
    ("py:exc", r"\w+"),  # reference/errors.md has them all
]


def write_model_cards(_: Sphinx) -> None:
    """Give each plugin's model card a page: docs/cards/NAME.md, which git ignores."""
    (DOCS / "cards").mkdir(exist_ok=True)
    for card in sorted(ROOT.glob("plugins/*/README.md")):
        page = f"---\norphan: true\n---\n```{{include}} ../../plugins/{card.parent.name}/README.md\n```\n"
        (DOCS / "cards" / f"{card.parent.name}.md").write_text(page, encoding="utf-8")


def link_model_cards(_: Sphinx, __: str, source: list[str]) -> None:
    """Lead from a model card in the repository to its page."""
    for card in ROOT.glob("plugins/*/README.md"):
        source[0] = source[0].replace(f"](../plugins/{card.parent.name}/README.md)", f"](cards/{card.parent.name}.md)")


def keep_first_colon(_: Sphinx, what: str, __: str, ___: object, ____: object, lines: list[str]) -> None:
    """Keep napoleon from reading "Unit vector: ..." of a property as a type and its description."""
    if what in {"attribute", "data", "property"} and lines:
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("builder-inited", write_model_cards)
    app.connect("source-read", link_model_cards)
    app.connect("autodoc-process-docstring", keep_first_colon, priority=400)
