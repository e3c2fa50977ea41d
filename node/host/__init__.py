"""Plugins: their manifests, and where they are found."""

from node.host.discovery import find_plugins
from node.host.kind import DEMONSTRATION, Kind
from node.host.manifest import VALIDATED_ON, Manifest, Plugin, read_plugin

__all__ = ["DEMONSTRATION", "VALIDATED_ON", "Kind", "Manifest", "Plugin", "find_plugins", "read_plugin"]
