"""Engines that run an exported file here, shared by the exporter and the targets that write for the same engine."""
