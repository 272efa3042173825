"""The datasets service (Edison) as a filesystem: ``api`` speaks, ``registry`` finds datasets by
name, ``index`` lists, ``upload`` sends bytes, ``service`` puts them together.
"""
