"""How often the monitor is wrong, how soon it is right, and what a look costs.

`make monitoring` plays a seeded share; `PROOF=1 make monitoring` all of it, which takes
an hour. Tables and plots go to `benchmarks/results/`.
"""
