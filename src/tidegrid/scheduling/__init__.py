"""Where and when a job should run: the queue of one machine, the snapshot of the network, placement and its reasons.

Pure: arrays in, arrays and frozen values out; clock, ids and randomness are passed in. Prices come from `rating`.
"""
