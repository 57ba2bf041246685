"""Tidegrid makes many supercomputers one network."""

__version__ = "0.1.0"
