"""Trains the settings of a sweep in a pool of processes or on a cluster.

`jobs.jobs_of` writes the command of each setting; `process.run` and
`slurm.run` run them; `status.of` reads from disk how far they are.
"""
