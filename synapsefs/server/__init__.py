"""The embedded server: both services over one directory, in one process or many.

``synapsefs.server.app`` assembles and runs it, ``synapsefs.server.embedded`` keeps one in a
thread of the current process.
"""
