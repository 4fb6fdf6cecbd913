"""Trains the settings of a sweep elsewhere: a pool of processes, a cluster.

`jobs.jobs_of` writes the command of each setting; `process.run` and
`slurm.run` give them; `status.of` reads from disk how far they are.
"""
