"""The fault matrix: real processes die, real orchestrators act, and the emulator counts what was paid for.

`make survive` plays all of it and prints the table. Each module is a row of the matrix, each scenario a cell.
"""
