"""WHAT CAME OUT: rows and tables. Knows none of the other rooms.

`row.py` says what a row is; `journal.py` keeps the primary record of a run; `csvfile.py` is the form that
travels; `read.py` finds and reads any of them; `machine.py` says which machine this is. These need nothing but
the standard library. `table.py` and `render.py` make tables of what was read, and need pandas.
"""
