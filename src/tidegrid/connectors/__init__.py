"""Clusters: one connector class a kind of cluster, behind the contract in `contract`.

A connector translates; it decides nothing and stores nothing. It may talk to sites, and imports only downward.
"""
