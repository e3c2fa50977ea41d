"""Plugins: their manifests, and where they are found."""

from node.host.discovery import find_plugins
from node.host.manifest import Manifest, Plugin, read_plugin

__all__ = ["Manifest", "Plugin", "find_plugins", "read_plugin"]
