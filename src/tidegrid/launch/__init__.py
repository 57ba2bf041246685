"""Configuration, secrets and wiring: the server with its loops and embedded clusters; the demo.

The only room that reads the wall clock, randomness, files of settings and the environment, and hands them down.
"""

import os

# Before numpy is loaded: the server's matrices are small, and threads of OpenBLAS would spend longer waiting for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
