"""The datasets service (Edison) as a filesystem.

``api`` speaks, ``registry`` finds datasets by name, ``index`` arranges listings, ``indexes`` keeps
them, ``upload`` sends bytes, ``publish`` makes files visible, ``service`` puts them together.
"""
