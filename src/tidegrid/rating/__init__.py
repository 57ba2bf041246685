"""What use costs: rates, the price book, and the one formula from use to money.

Pure and exact: integers in, integer micro-yuan out, one rounding. A missing price is an error, never 0.
"""
