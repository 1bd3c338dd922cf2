"""WHAT CAME OUT: rows and tables. Imports none of the other rooms.

`record` says what a row is, keeps the journal of a run, writes the CSV that travels, and reads any of them: standard
library only. `tables` makes pandas frames of rows, `nights` compares them over many nights, `show` makes text, pages
and plots of both, and `cli` has the commands. Each may import those before it in this list, and none after.
"""
