# SPDX-License-Identifier: BSD-2-Clause
"""Why clauses of the document have no case yet. Declares no case.

Whoever writes a case for one of these takes its line away: an exact id that has a case is an error at
load time, and where a pattern stands a case takes precedence over it.
"""

from __future__ import annotations

from abidance.suite import untested

__all__: list[str] = []

untested("vmi.*.may-*", "vmi.*.scratch-may-change", "vmi.*.upper-bits", "vmi.*.unknown-register",
         "vmi.*.unknown-counter", "vmi.*.implementation-defined", "vmi.CPUID.may-mask", "vmi.RDTSC.accuracy",
         "vmi.Reboot.soft-may-keep", "vmi.SetPxELong.stale-until-flush", "vmi.relocation.any-may-be-withheld",
         "vmi.machine.machine-pages", "vmi.privilege.rpl-may-show", "vmi.privilege.wrong-rpl-may-fault",
         "vmi.transfer.sysenter-cs-may-clear", "vmi.processor.user-counters-off",
         "vmi.descriptors.may-be-shadowed", "vmi.descriptors.memory-may-change",
         "vmi.descriptors.invalid-becomes-null", "vmi.descriptors.native-stores-may-differ",
         "vmi.tables.other-processors-later", "vmi.pae.mode-switch", "vmi.time.stops-with-machine",
         "vmi.time.unit", reason="permission: nothing to violate")

untested("vmi.rom.not-memory", "vmi.machine.memory-map",
         reason="case not written in this edition: the test kernel drops the memory map")
untested("vmi.machine.acpi-tables",
         reason="case not written in this edition: the firmware of the platform makes them")
untested("vmi.apic.*",
         reason="case not written in this edition: the test kernel uses the 8259 pair and leaves APICs alone")
untested("vmi.time.recommended",
         reason="a recommendation to offer calls: the list of calls offered shows whether it is followed")
untested("vmi.SetLazyMode.fpu-not-queued", reason="case not written in this edition")

# Calls that no implementation of this edition offers, by group.
untested(*(f"vmi.{name}.*" for name in (
    "CPUID", "WRMSR", "RDMSR", "WBINVD", "SetDR", "GetDR", "RDPMC", "RDTSC")),
    reason="case not written in this edition")
untested(*(f"vmi.{name}.*" for name in (
    "SetGDT", "SetLDT", "SetIDT", "SetTR", "GetGDT", "GetLDT", "GetIDT", "GetTR", "WriteGDTEntry",
    "WriteLDTEntry", "WriteIDTEntry")), "vmi.SetLazyMode.off-puts-descriptors-into-effect",
    reason="case not written in this edition")
untested("vmi.SetPxELong.*", "vmi.UpdatePxELong.*", "vmi.pae.*",
         "vmi.SetLazyMode.off-puts-long-entries-into-effect",
         reason="case not written in this edition: the test kernel runs without PAE")
untested("vmi.AllocatePage.*", "vmi.ReleasePage.*", reason="case not written in this edition")
untested(*(f"vmi.{name}.*" for name in (
    "INL", "INB", "INW", "INSL", "INSB", "INSW", "OUTL", "OUTB", "OUTW", "OUTSL", "OUTSB", "OUTSW",
    "SetIOPLMask", "IODelay")), "vmi.io.*", "vmi.SetLazyMode.off-puts-iopl-into-effect",
    reason="case not written in this edition")
untested("vmi.SetInitialAPState.*", reason="needs a second processor in the test kernel")
untested("vmi.APICWrite.*", "vmi.APICRead.*",
         reason="case not written in this edition: the test kernel uses the 8259 pair and leaves APICs alone")
untested(*(f"vmi.{name}.*" for name in (
    "GetCycleFrequency", "GetCycleCounter", "SetAlarm", "CancelAlarm", "GetWallclockTime",
    "WallclockUpdated")),
    "vmi.time.*", reason="case not written in this edition")
untested("vmi.Reboot.*", "vmi.Shutdown.*",
         reason="case not written in this edition: the call ends the run, and no platform tells how")
