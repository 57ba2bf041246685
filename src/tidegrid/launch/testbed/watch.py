"""Takes a test-bed down when the process that started it ends: `python -m tidegrid.launch.testbed.watch DIRECTORY`.

The owner holds the other end of standard input, which closes with it, also when it is killed.
"""

from __future__ import annotations

import sys

from tidegrid.launch.testbed.bed import down

if __name__ == "__main__":
    sys.stdin.buffer.read()
    down(sys.argv[1])
