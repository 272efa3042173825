"""The datasets service (Edison) as a filesystem.

``client`` speaks, ``catalog`` finds datasets by name, ``index`` arranges listings, ``index_cache``
keeps them, ``listing`` resolves paths, ``folders`` makes directories, ``upload`` sends bytes to ``pending`` entries, ``publish``
makes files visible, by ``revising`` what is there, ``removing`` removes them, ``cleanup`` clears
away what is left of interrupted work, ``service`` puts them together.
"""
