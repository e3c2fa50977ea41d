"""Run the test of a plugin, as its author does: pytest on the plugin's folder."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from node.errors import ConfigError

NO_TESTS = 5
"""pytest's exit code where it found no test."""


def run_test(folder: Path) -> bool:
    """Run the tests in a plugin's folder; return whether all have passed. What pytest says goes to the terminal.

    Raises
    ------
    ConfigError
        pytest is not installed, or the folder has no test.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ConfigError("pytest is not installed: pip install pytest")
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder], check=False
    ).returncode
    if code == NO_TESTS:
        raise ConfigError(f"{folder} has no test; write {folder / 'test_plugin.py'}, as the template has it")
    return code == 0
