"""What would have happened: job traces, the engine that replays them through `scheduling`, scorecards.

Pure: bytes and arrays in, arrays and frozen values out; randomness is passed in as a numpy Generator. No file is read here.
"""
