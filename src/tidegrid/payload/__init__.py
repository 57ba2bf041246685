"""What travels to a cluster as text: the batch script around every job.

Imported by nobody; `control` reads the files here as package data, and `connectors.script` fills them. POSIX sh and, later, Python
3.6 with its standard library only: a site promises no more. `job.sh.in` is held to the fence and permit protocol by tests/conformance.
"""
