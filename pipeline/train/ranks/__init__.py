"""Several processes that train one connection together, each on a device of its own: the ranks of torchrun.

An objective sees the whole batch on every rank. What takes the time is divided: each rank projects a share of the rows, with
BatchNorm over the rows of all, and computes a share of InfoNCE's scores. Everything else happens on every rank with the same
numbers: order, noise, loss, the step of the optimiser. So a method needs to know nothing of ranks.
"""
