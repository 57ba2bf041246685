"""Logs of jobs as arrays: readers and writers of the formats in use, the checks that refuse bad ones, generators.

Pure: a reader gets the file's bytes and gives a `Trace`; it never opens anything. Every reader names the line it cannot read.
"""

from tidegrid.simulation.traces.swf import read_swf
from tidegrid.simulation.traces.swf_write import write_swf
from tidegrid.simulation.traces.trace import Header, Trace, convention_k

__all__ = ["Header", "Trace", "convention_k", "read_swf", "write_swf"]
