"""Definitions by value: functions and classes that a worker cannot import.

Users often begin with a script, a notebook or a nested function, which other processes cannot
import by name. These modules take such definitions apart in one process and rebuild them in
another.

================ ================================================================================
selection        what has to be sent by value, and what is found by its name
introspection    the parts of a function or class
changes          the bindings that a definition was made from, and whether they still hold
pickler          dill's pickler, with procorch's reducers for functions, classes and modules
definition_cache whole pickles; definitions that are pickled once for many messages
reducers         procorch's reducers for a few other types
inherited        objects of ``multiprocessing`` that only child processes may get
module_replica   in the receiver: the module that replaces the sender's, identities, versions
rebuild          in the receiver: functions and classes made from the parts
================ ================================================================================
"""
