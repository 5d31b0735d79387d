"""Programs as agents: how they are started, ended and told of."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, TextMutant
from tests.mutants.suites import BATCH_EXEC, BENCH_EXEC, CHILD, COMMAND, TEMPLATE

PROGRAM = "agents/child_program.py"

MUTANTS: tuple[Mutant | TextMutant, ...] = (
    # ---- no program lives on, and none is waited for without an end
    TextMutant(
        "program: no interrupt before it is known",
        "worker/interrupts.py",
        '    "procorch.agents.child_program",\n',
        "",
        (COMMAND + "no_interrupt_comes_between_the_start_of_a_program_and_its_being_known",),
    ),
    Mutant(
        "program: its group is ended with it",
        PROGRAM,
        "ChildProgram._signal",
        "(os.killpg, os.kill)",
        "(os.kill,)",
        (
            COMMAND + "a_late_program_is_ended_with_its_group",
            COMMAND + "what_a_program_leaves_in_its_group_ends_with_it",
        ),
    ),
    Mutant(
        "program: what it has left is killed",
        PROGRAM,
        "ChildProgram._reap",
        "self._signal(signal.SIGKILL)",
        "",
        (COMMAND + "what_a_program_leaves_in_its_group_ends_with_it",),
    ),
    Mutant(
        "program: it gets SIGTERM first",
        PROGRAM,
        "ChildProgram.end",
        "self._signal(signal.SIGTERM)",
        "",
        (COMMAND + "a_program_has_time_to_end_by_itself",),
    ),
    Mutant(
        "program: it has ended when its pidfd says so",
        PROGRAM,
        "ChildProgram.run",
        "not self._ended",
        "not self._ended or self._outputs",
        (COMMAND + "what_was_written_before_the_end_is_read_whatever_is_left_behind",),
    ),
    Mutant(
        "program: its last words are read",
        PROGRAM,
        "ChildProgram.run",
        "self._drain()",
        "",
        (CHILD + "all_that_was_written_before_the_end_is_read",),
    ),
    # ---- what goes in and out
    Mutant(
        "program: one that reads no input is no error",
        PROGRAM,
        "ChildProgram._feed",
        "BrokenPipeError",
        "ZeroDivisionError",
        (COMMAND + "input_that_a_program_does_not_read_is_no_error",),
    ),
    Mutant(
        "program: its output is bounded",
        "agents/program_output.py",
        "ProgramOutput.take_out",
        "self._limit is not None and self._size > self._limit",
        "False",
        (COMMAND + "large_output_is_bounded_and_the_program_is_ended",),
    ),
    TextMutant(
        "program: it has the signals of a program",
        PROGRAM,
        "setsigdef=_DEFAULT_SIGNALS",
        "setsigdef=()",
        (COMMAND + "a_program_has_default_signals_and_no_terminal_input",),
    ),
    Mutant(
        "program: it is none that a request names",
        "agents/argv_template.py",
        "ArgvTemplate.parse",
        "any(isinstance(part, Field) for part in arguments[0])",
        "False",
        (TEMPLATE + "a_command_line_that_means_nothing_is_refused_when_it_is_written",),
    ),
    Mutant(
        "program: credentials stay out of errors",
        "agents/argv_template.py",
        "ArgvTemplate.shown",
        "redact(' '.join(found))",
        "' '.join(found)",
        (TEMPLATE + "a_command_line_in_an_error_has_no_secrets",),
    ),
    # ---- the agent lives
    Mutant(
        "program: its crash is no death of its agent",
        "supervision/policy.py",
        "_keep_unless_dead",
        "isinstance(error, CommandCrashed)",
        "False",
        (
            COMMAND + "a_signal_is_a_crash_by_name_and_the_agent_lives",
            COMMAND + "a_service_keeps_an_agent_whose_program_crashed",
        ),
    ),
    # ---- a batch of programs
    Mutant(
        "exec: fields are looked for before the first program",
        "batch/start.py",
        "prepare_batch",
        "scan(source, selection, command_check(factory))",
        "scan(source, selection)",
        (BATCH_EXEC + "what_cannot_work_is_refused_before_anything_runs",),
    ),
    Mutant(
        "exec: a dry run looks for the program",
        "batch/preparation.py",
        "PreparedBatch.dry_run",
        "find_program_of(self.factory)",
        "",
        (BATCH_EXEC + "what_cannot_work_is_refused_before_anything_runs",),
    ),
    Mutant(
        "exec: results are no items",
        "batch/commands.py",
        "with_results",
        "os.path.commonpath([path, read]) == read",
        "False",
        (BATCH_EXEC + "what_cannot_work_is_refused_before_anything_runs",),
    ),
    Mutant(
        "exec: another command is another batch",
        "batch/identity.py",
        "describe",
        "factory.recipe",
        "''",
        (BATCH_EXEC + "another_command_is_another_batch",),
    ),
    Mutant(
        "exec: files have safe names",
        "agents/result_files.py",
        "file_name",
        "_UNSAFE.sub(_escaped, item)",
        "item",
        (
            TEMPLATE + "files_of_an_item_have_safe_names",
            BATCH_EXEC + "results_are_files_named_by_the_item",
        ),
    ),
    Mutant(
        "exec: what goes on names no variable that was not used",
        "cli/batch_exec.py",
        "_forget",
        "_source(name) is ParameterSource.ENVIRONMENT",
        "False",
        (BATCH_EXEC + "the_input_may_come_from_the_environment",),
    ),
    # ---- programs that are measured
    Mutant(
        "bench: a program that fails is a failure",
        "bench/inside/executed.py",
        "run",
        "if status:\n    raise Failed(\n        -os.WTERMSIG(status) if os.WIFSIGNALED(status) "
        "else os.WEXITSTATUS(status)\n    )",
        "",
        (BENCH_EXEC + "failures_are_named_and_cost_their_runs_only",),
    ),
    Mutant(
        "bench: the start of what measures a program is not its own",
        "bench/process.py",
        "Process.load",
        "None if case.program else report['seconds']",
        "report['seconds']",
        (BENCH_EXEC + "figures_are_those_of_the_program",),
    ),
    Mutant(
        "bench: a parameter of a program is used",
        "bench/commands.py",
        "of_command",
        "_refuse_unused(name, template, requests, parameters)",
        "",
        (BENCH_EXEC + "what_cannot_be_measured_is_refused",),
    ),
)
