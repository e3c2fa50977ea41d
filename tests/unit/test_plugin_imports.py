"""What a job loads for its plugin: `node`, NumPy and the client of Triton, never torch or SciPy."""

import subprocess
import sys

from tests.peers import ROOT

LOADED = """
import sys
from pathlib import Path
from node.host import find_plugins
from node.infer.run import load
plugins = find_plugins([Path("plugins")])
for plugin in plugins.values():
    load(plugin)
print(len(plugins), sorted({"torch", "scipy", "skimage", "SimpleITK"} & set(sys.modules)))
"""
TESTING = """
import sys
from node import testing
testing.ct_series(), testing.enhanced_mr(), testing.slide(), testing.chest_phantom(slices=2, rows=16)
print(sorted({"torch", "tritonclient", "pydantic", "sqlalchemy", "highdicom", "pynetdicom"} & set(sys.modules)))
"""


def printed(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_no_job_imports_torch_for_its_plugin() -> None:
    assert printed(LOADED) == "21 []"


def test_builders_of_data_sets_import_little() -> None:
    assert printed(TESTING) == "[]"
