"""Slurm clusters: commands over a shell, here or through ssh; delimited text only.

A job's *name* is its identity. Native ids are evidence: a controller that crashed gives them out again.
"""
