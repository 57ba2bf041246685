"""Configuration, secrets and wiring: the server with its loops and embedded clusters; the demo.

The only room that reads the wall clock, randomness, files of settings and the environment, and hands them down.
"""
