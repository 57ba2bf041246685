"""Real Slurm clusters on one machine, from Debian's packages, for tests, demos and trials.

Everything is below one directory; nothing of the machine's own configuration is read or changed. Start at bed.py.
"""

from tidegrid.launch.testbed.bed import Testbed, down, load, up
from tidegrid.launch.testbed.model import Cluster, Ssh

__all__ = ["Cluster", "Ssh", "Testbed", "down", "load", "up"]
