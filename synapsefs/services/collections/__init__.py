"""The collections service (Synapse) as a filesystem.

``client`` has the routes, ``catalog`` finds collections by name, ``index`` arranges listings,
``index_cache`` keeps them, ``listing`` resolves paths, ``composition`` composes units, ``upload``
sends bytes to the service, ``presigned`` and ``bulk`` to its storage, ``publish`` creates and
deletes units, and ``service`` puts them together.
"""
