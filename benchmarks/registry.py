"""All rows, by the numbers that the targets have."""

from __future__ import annotations

from importlib import import_module

from benchmarks.rows import Row

_HOMES = {
    "P1": "p1_send_message",
    "P1b": "p1b_against_pools",
    "P2": "p2_pipelined",
    "P2b": "p2b_map",
    "P2c": "p2c_executor",
    "P3": "p3_arrays",
    "P3b": "p3b_bytes",
    "P4": "p4_death",
    "P5": "p5_recovery",
    "P6": "p6_scale",
    "P7": "p7_company",
    "P8": "p8_import",
    "P9": "p9_journal",
    "P10": "p10_crashes",
    "P11": "p11_flat",
    "P13": "p13_daemon",
    "P13b": "p13b_supervisord",
    "R1": "r1_call",
    "R2": "r2_death",
    "R3": "r3_replacement",
    "R4": "r4_killed_node",
    "R5": "r5_frozen_node",
}
"""Each is a module with a ``ROW``; it is imported when the row is used."""

IDS = tuple(_HOMES)


def row(name: str) -> Row:
    """The row with that number.

    Raises:
        KeyError: there is none.
    """
    found: Row = import_module(f"benchmarks.{_HOMES[name]}").ROW
    return found
