"""How fast the filesystem is beside its peers: ``python -m tests.benchmarks``.

``discard`` is a server that throws uploads away and serves memory, ``candidates`` do the same work
each in its own way, ``works`` says which work there is, ``measure`` runs one candidate in a process
of its own, ``report`` writes the table and the plot. ``server`` measures the embedded server.
"""
