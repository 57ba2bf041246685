"""What goes out. Fields are added, never renamed; times are ISO 8601 in UTC, money is a decimal text with its currency.

A module of `routes` has its views in the module of the same name here; what all are made of is in `base`.
"""
