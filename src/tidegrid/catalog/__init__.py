"""What can run and on what: application documents and the network file. Text in, frozen values out.

Pure: no file is read here; no SQL, HTTP, subprocess, wall clock, randomness or environment. YAML, JSON Schema and
Jinja2 are used as libraries over text.
"""
