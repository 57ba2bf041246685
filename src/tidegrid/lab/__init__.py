"""Experiments on this machine: log files read and written, worker processes, time taken, Parquet and report pages over `simulation`.

Effects live here: files, processes, the clock. What is computed is computed in the pure rooms below.
"""
