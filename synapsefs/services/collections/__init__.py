"""The collections service (Synapse) as a filesystem.

``client`` speaks, ``catalog`` finds collections by name, ``index`` arranges listings,
``index_cache`` keeps them, ``listing`` resolves paths, ``composition`` composes units, ``upload`` sends bytes, ``publish`` creates and deletes units,
``service`` puts them together.
"""
