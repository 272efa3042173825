"""The collections service (Synapse) as a filesystem: ``api`` speaks, ``index`` lists, ``plan``
composes units, ``upload`` sends bytes, ``service`` puts them together.
"""
