"""The machine, the versions and the threads of a measurement."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

ALWAYS = "numpy", "scipy", "scikit-learn", "sklearn-minibatch"


def processor():
    """Name of the processor, if the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine():
    """Processor, cores and system in a few words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {cores} cores, {platform.system()} {platform.machine()}"


def versions(*packages):
    """Versions of Python and of those packages in use that are installed.

    These are the packages of `ALWAYS` and those given.
    """
    found = [f"python {platform.python_version()}"]
    for name in (*ALWAYS, *packages):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def threads():
    """The largest number of threads of the BLAS and OpenMP runtimes that are loaded."""
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def kernels():
    """The processors for which the loaded BLAS libraries have chosen their kernels."""
    return (
        ", ".join(
            sorted({pool["architecture"] for pool in threadpool_info() if "architecture" in pool})
        )
        or "unknown"
    )
