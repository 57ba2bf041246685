"""Chaos: real servers and supervisors killed at random over a faulty transport, and a judge who believes none of them.

`judge` reads files only and imports nothing of tidegrid; `export` writes them; `server` is the product's server with faults
in front of its clusters; `killer`, `work` and `run` are the harness.
"""
