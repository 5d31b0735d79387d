"""Definitions by value: functions and classes that a worker cannot import.

A script, a notebook, a nested function: what users write first has no name that another process
could import. These modules take such definitions apart in one process and rebuild them in another.

========== =====================================================================================
travel     what must go by value, what is found by its name
anatomy    what a function or class consists of
changes    which bindings a definition was made from, and whether they still hold
pickler    dill's pickler with our ways for functions, classes and modules
pieces     whole pickles; definitions that are pickled once for many messages
reducers   our ways for a few other types
mirror     the other process: the module that stands for the sender's, identities, versions
rebuild    the other process: functions and classes made from what arrived
========== =====================================================================================
"""
