"""What runs in the process that is measured: load the program, call it, time the calls.

An interpreter that need not have procorch executes this package under another name (`BOOT`), so its
modules use the standard library alone and import each other relatively. They import little, and
late: a module that is loaded here costs the measured program nothing, which a user would not find
elsewhere. Python 3.8 and later can run them.
"""

BOOT = (
    # The working directory, which `-c` puts first, may have files with names of modules of Python.
    "import sys; sys.path[:1] = filter(None, sys.path[:1]); "
    "package = type(sys)('procorch_inside'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['procorch_inside'] = package; from procorch_inside.main import main; main()"
)
"""For ``python -c``; the argument after it is the directory of this package."""
