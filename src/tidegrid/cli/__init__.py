"""The `tide` command: verbs through the SDK; `up` and `demo` through launch, loaded only when asked for.

Every verb has `--json`. Exit status: 0 done, 1 the work failed, 2 wrong use, 3 cannot reach the server, 4 refused.
Nothing heavy is imported before a verb runs.
"""
