"""The REST service: routes, models of what goes in and out, tokens, problems, server-sent events.

A route holds its access policy, calls one method of the platform (`ports.Platform`) and returns its view; decisions are made
below. No SQL here, and nothing of a request reaches a log but its method, path, status and time.

To add a route: write it in a module of `routes`, with an `auth.…` actor as its policy and a declared response, a view of the
module of that name in `views`; then say in tests/integration/test_api_tenancy.py what a stranger must see. The tests fail until
both are there.
"""
