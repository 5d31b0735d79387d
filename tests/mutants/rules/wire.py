"""Payloads, descriptors and definitions on their way to another process."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.suites import GUARDS, PAYLOAD, SURROUNDINGS, TRANSFERS

MUTANTS: tuple[Mutant, ...] = (
    # ---- nothing of a closed orchestrator is kept
    Mutant(
        "kept: the last orchestrator takes its definitions along",
        "wire/byvalue/changes.py",
        "leave",
        "not _users",
        "False",
        ("tests/process/test_nothing_kept.py::test_nothing_of_what_is_closed_is_kept",),
    ),
    # ---- what is sent by value
    Mutant(
        "surroundings: proxies take the key of their manager along",
        "wire/byvalue/inherited.py",
        "proxy",
        '{**more, "authkey": bytes(obj._authkey)}',
        "more",
        (SURROUNDINGS + "a_manager_may_have_a_key_of_its_own",),
    ),
    Mutant(
        "wire: the number of a descriptor is not sent as a connection",
        "wire/codec.py",
        "encode",
        "made is not None and inherited.MARK in references(made[0])",
        "False",
        ("tests/wire/test_inherited.py::test_a_message_with_it_is_refused",),
    ),
    # ---- Huge payloads, which a thread moves
    Mutant(
        "transfers: a thread ends with its worker",
        "launch/process.py",
        "LocalProcess._stop_reading",
        "self._reading.stop()",
        "pass",
        (GUARDS + "a_thread_that_reads_ends_with_its_worker_whoever_else_holds_the_socket",),
    ),
    Mutant(
        "transfers: nothing is written in the middle of a frame",
        "wire/channel.py",
        "Channel.flush",
        "out and not self.held and not self.writing",
        "out and not self.held",
        ("tests/wire/test_parent_channel.py::test_a_frame_waits_for_the_bulk_before_it",),
    ),
    Mutant(
        "transfers: the monitor ends the frame",
        "wire/parent_channel.py",
        "ParentChannel.read_bulk",
        "self._decoder.missing - 1",
        "self._decoder.missing",
        (TRANSFERS + "a_reply_that_was_sent_is_delivered_whatever_becomes_of_its_worker",),
    ),
    Mutant(
        "transfers: what waits is a copy of what can change",
        "wire/bulk.py",
        "keep",
        "sum(len(part) for part in parts if not is_fixed(part))",
        "0",
        (TRANSFERS + "what_is_done_to_an_object_after_it_was_sent_changes_nothing",),
    ),
    # ---- Large payloads: no foreign memory, nothing kept, shortage costs one request
    Mutant(
        "memory that its peer can still cut or change",
        "wire/payload.py",
        "_wrong",
        "fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS",
        "True",
        (
            PAYLOAD + "a_descriptor_of_anything_but_sealed_memory_is_refused",
            PAYLOAD + "an_unsealed_descriptor_is_a_fault",
        ),
    ),
    Mutant(
        "memory of another size",
        "wire/payload.py",
        "_wrong",
        "found == size",
        "found",
        (PAYLOAD + "memory_of_another_size_than_announced_is_refused",),
    ),
    Mutant(
        "a descriptor for as long as a mapping",
        "wire/payload.py",
        "unpack",
        "content.close()",
        "pass",
        (PAYLOAD + "a_mapping_holds_no_descriptor_and_ends_with_its_last_view",),
    ),
    Mutant(
        "descriptors for workers",
        "wire/payload.py",
        "_write",
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2",
        "resource.getrlimit(resource.RLIMIT_NOFILE)[0]",
        (PAYLOAD + "leases_leave_half_of_the_descriptors_to_others",),
    ),
    Mutant(
        "a body without a number for its descriptor",
        "wire/channel.py",
        "Channel._take",
        "self._descriptors.append(_NONE_LEFT)",
        "pass",
        (PAYLOAD + "without_a_number_for_a_descriptor_one_frame_loses_its_body_and_no_other",),
    ),
    Mutant(
        "descriptors of torn frames",
        "wire/channel.py",
        "Channel.close",
        "os.close(fd)",
        "pass",
        (PAYLOAD + "the_descriptor_of_a_torn_frame_is_closed",),
    ),
    Mutant(
        "a descriptor of no frame",
        "wire/channel.py",
        "Channel._joined",
        "len(self._descriptors) > self._decoder.partial",
        "False",
        (PAYLOAD + "a_descriptor_without_a_frame_is_a_fault",),
    ),
)
