"""The kernel: the queues of many sites as plain Python source, which runs over lists as it is, or compiled over arrays.

`layout` says what stands where; `steps` are what a site does (enter, finish, schedule); `replay` is a loop over them; `policy` names
the policies; `build` makes a state; `compiled` gives the same functions through numba, which nothing else here imports.
"""
