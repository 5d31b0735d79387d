"""Tests of CPython's `test_concurrent_futures` that do not apply to `AgentExecutor`, and why.

Keys are the ends of the tests' names. All other tests of process pools are run and have to pass.
"""

INSIDE = "looks at attributes of ProcessPoolExecutor that are nobody's interface: "
BREAKS = "has a death or a bad pickle break the whole pool; here it fails one call"
INHERITS = "hands over a lock or a queue that only children of the same fork can share"
BY_NAME = "its script imports the class under test from concurrent.futures by its name; see test_"

NOT_APPLICABLE: dict[str, str] = {
    ".test_context_manager_shutdown": INSIDE + "_processes",
    ".test_del_shutdown": INSIDE + "_executor_manager_thread",
    ".test_error_at_task_unpickle": BREAKS,
    ".test_error_during_result_unpickle_in_result_handler": BREAKS,
    ".test_exit_at_task_unpickle": BREAKS,
    ".test_exit_during_result_pickle_on_worker": BREAKS,
    ".test_exit_during_result_unpickle_in_result_handler": BREAKS,
    ".test_idle_process_reuse_multiple": INSIDE + "_processes",
    ".test_idle_process_reuse_one": INSIDE + "_processes",
    ".test_interpreter_shutdown": BY_NAME + "an_interpreter_that_exits_waits_for_the_calls",
    ".test_killed_child": BREAKS,
    ".test_max_tasks_per_child": INSIDE + "_processes",
    ".test_max_tasks_per_child_defaults_to_spawn_context": INSIDE + "_mp_context",
    ".test_processes_terminate": INSIDE + "_processes",
    ".test_python_finalization_error": INSIDE + "it replaces the start of its threads",
    ".test_saturation": INHERITS,
    ".test_shutdown_deadlock_pickle": INSIDE + "_executor_manager_thread",
    ".test_shutdown_no_wait": INSIDE + "_processes",
    ".test_submit_after_interpreter_shutdown": BY_NAME + "nothing_can_be_submitted_after_the_exit",
    "FailingInitializerTest.test_initializer": INHERITS,
}
