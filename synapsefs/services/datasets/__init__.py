"""The datasets service (Edison) as a filesystem.

``client`` has the routes, ``catalog`` finds datasets by name, ``index`` arranges listings,
``index_cache`` keeps them, ``listing`` resolves paths, ``folders`` makes directories, ``upload``
sends bytes to ``pending`` entries, ``publish`` makes files visible, by ``revising`` what is there,
``removing`` removes them, ``cleanup`` clears away leftovers of interrupted work, and ``service``
puts them together.
"""
