"""The collections service (Synapse) as a filesystem.

``api`` speaks, ``directory`` finds collections by name, ``index`` arranges listings, ``indexes``
keeps them, ``plan`` composes units, ``upload`` sends bytes, ``publish`` creates and deletes units,
``service`` puts them together.
"""
