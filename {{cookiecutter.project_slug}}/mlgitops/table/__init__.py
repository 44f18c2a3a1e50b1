"""From a table to a repository: reads a file, guesses its contract, and says why.

Data flow one way: database, partitions -> bring -> source -> formats, columnar, columns
-> guess, roles, target -> typed -> measure -> findings, sizes -> contract_text,
params_text -> files; page says it all.
"""
