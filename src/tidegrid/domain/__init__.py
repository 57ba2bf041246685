"""What things are: ids, time, money, jobs, attempts and their transitions, errors.

Pure: no SQL, HTTP, ssh, subprocess, wall clock, randomness or environment. Imports nothing of tidegrid.
"""
