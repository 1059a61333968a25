"""Machine code from the bodies of kernels: Numba types them, LLVM compiles them for any target.

A kernel becomes one C function, of the jobs to do, the number of the worker that does them, and
packed arguments::

    void name(int64_t first, int64_t last, int64_t worker, const int64_t *packed)

Nothing in it refers to Numba or Python. It may be linked into a library, or loaded by LLVM into
this process. This module needs Numba and llvmlite; only what compiles imports it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc

from xpcnn.kernels.native.targets import Target, triple

NEVER_RAISES = {"error_model": "numpy"}
"""How all kernels are compiled: a division by zero gives infinity or NaN. An exception in a job
would have nowhere to go, and what the job had still to write would be whatever was in memory."""

_LONG, _DOUBLE = ir.IntType(64), ir.DoubleType()
_POINTERS = {
    "Floats": types.CPointer(types.float32),
    "Doubles": types.CPointer(types.float64),
    "Ints": types.CPointer(types.int64),
    "Bytes": types.CPointer(types.uint8),
}
_KINDS: dict[str, Any] = {
    "int": types.intp, "Worker": types.intp, "float": types.float32, **_POINTERS
}  # fmt: skip


def prepare() -> None:
    """Have Numba write plain instructions; what they become is up to LLVM, for each target."""
    numba.config.OPT = numba.core.config._OptLevel(0)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def object_code(
    function: Callable[..., None],
    hints: Sequence[str],
    name: str,
    target: Target,
    system: str = sys.platform,
) -> bytes:
    """Compile a kernel.

    Parameters
    ----------
    function : callable
        Its body.
    hints : sequence of str
        The kinds of its arguments, that of the job first.
    name : str
        What the C function is called.
    target : Target
    system : str
        That it is for, as Python calls it.

    Returns
    -------
    bytes
        An object file.
    """
    body: Any = CFunc(function, (tuple(_KINDS[h] for h in hints), types.void), {}, NEVER_RAISES)
    body.compile()
    machine = _machine(target, system)
    module = llvm.parse_assembly(_of(machine, body._library.get_llvm_str()))
    around = _around(body.native_name, name, hints)
    module.link_in(llvm.parse_assembly(_of(machine, str(around))))
    for each in module.functions:
        if not each.is_declaration and each.name != name:
            each.linkage = "internal"
    for each in module.global_variables:
        if not each.is_declaration:
            each.linkage = "internal"
    if system == "win32":
        # As the functions of runtime.c: where some of a library are, only those are seen.
        module.get_function(name).storage_class = "dllexport"
    _optimise(module, machine)
    missing = {f.name for f in module.functions if f.is_declaration and not _is_known(f.name)}
    if missing:
        raise RuntimeError(f"{name}: machine code would call {', '.join(sorted(missing))}")
    code: bytes = machine.emit_object(module)
    return code


def _is_known(name: str) -> bool:
    """Whether a function is LLVM's own, or one of C that every process has."""
    return name.startswith("llvm.") or name in (
        "exp", "expf", "log", "logf", "log1p", "log1pf", "sqrt", "sqrtf", "memcpy", "memset"
    )  # fmt: skip


def _optimise(module: Any, machine: Any) -> None:
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    llvm.create_pass_builder(machine, tuning).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, tuning)
    )


@cache
def _machine(target: Target, system: str) -> Any:
    """Return what makes machine code for a target and a system."""
    if not target.machine:
        return llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(),
            opt=3, reloc="pic", codemodel="default",
        )  # fmt: skip
    return llvm.Target.from_triple(triple(target, system)).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
    )


def _of(machine: Any, code: str) -> str:
    """Say in LLVM's language for which target some code is."""
    lines = (line for line in code.splitlines() if not line.startswith("target "))
    head = f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n'
    text = head + "\n".join(lines)
    # What was said about this machine's processor does not hold for another.
    return re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)


def _around(body: str, name: str, hints: Sequence[str]) -> Any:
    """Write the function that unpacks arguments and calls the body for some jobs."""
    module = ir.Module()
    packed_type = _LONG.as_pointer()
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [_LONG, _LONG, _LONG, packed_type]), name
    )
    first, last, worker, packed = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    arguments, position = [], 0
    for hint in hints[1:]:
        if hint == "Worker":
            arguments.append(worker)
            continue
        value = builder.load(builder.gep(packed, [_LONG(position)]))
        position += 1
        if hint == "float":
            value = builder.fptrunc(builder.bitcast(value, _DOUBLE), ir.FloatType())
        elif hint != "int":
            value = builder.inttoptr(value, ir.IntType(8).as_pointer())
        arguments.append(value)
    called = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [_LONG, *(a.type for a in arguments)]), body
    )
    loop, end = function.append_basic_block("loop"), function.append_basic_block("end")
    entry = builder.block
    builder.cbranch(builder.icmp_signed("<", first, last), loop, end)
    builder.position_at_end(loop)
    job = builder.phi(_LONG)
    builder.call(called, [job, *arguments])
    following = builder.add(job, _LONG(1))
    job.add_incoming(first, entry)
    job.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, last), loop, end)
    builder.position_at_end(end)
    builder.ret_void()
    return module
