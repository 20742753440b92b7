"""Devices: multi-host start, the one-dimensional "data" mesh, shardings, host to device.

Data parallelism is `jit` with `NamedSharding`: the program is written for the whole batch, and the
compiler splits it. Batch statistics are therefore those of the global batch on any device count.
"""

import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
MEBIBYTE = 2**20


_COORDINATOR = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Set inside a job step of SLURM, Open MPI or a TPU pod; JAX reads the rest by itself.
_CLUSTER_SIZES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def start_multi_host() -> None:
    """Joins the other hosts of a pod, where the environment names a coordinator.

    Single-host runs are left alone. Steps of SLURM (`srun`), Open MPI (`mpirun`) and TPU pods
    are recognised; elsewhere set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
      ValueError: Some, but not all of those three variables are set.
    """
    given = [name for name in _COORDINATOR if name in os.environ]
    if given and len(given) < len(_COORDINATOR):
        missing = sorted(set(_COORDINATOR) - set(given))
        raise ValueError(f"{', '.join(given)} is set, but not {', '.join(missing)}; set all three")
    if given:
        jax.distributed.initialize(
            coordinator_address=os.environ["JAX_COORDINATOR_ADDRESS"],
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )
    elif _on_tpu_pod() or any(int(os.environ.get(name, "1")) > 1 for name in _CLUSTER_SIZES):
        jax.distributed.initialize()


def _on_tpu_pod() -> bool:
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def is_first_host() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every host has come to the point called `name`."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils  # only where there are several hosts

        multihost_utils.sync_global_devices(name)


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Returns the mesh over the first `num_devices` devices (default: all)."""
    devices = jax.devices()[:num_devices]
    # The default axis type of make_mesh is Explicit, under which gathers of the component
    # labelling are refused.
    return Mesh(np.asarray(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch spread over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def to_global(batch: Any, mesh: Mesh) -> Any:
    """Turns this host's rows (a pytree of NumPy arrays) into arrays sharded over all devices."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts a pytree of host arrays on every device."""
    return jax.tree.map(lambda x: jax.device_put(x, replicated(mesh)), tree)


def check_divisible(key: str, rows: int, mesh: Mesh) -> None:
    """Checks that `rows` rows split evenly over the mesh.

    Raises:
      ValueError: Names the config key and the nearest value that works.
    """
    if rows % mesh.size:
        nearest = -(-rows // mesh.size) * mesh.size
        raise ValueError(
            f"{key}={rows} does not split over {mesh.size} devices; use {key}={nearest}"
        )


def free_memory_bytes() -> int:
    """Returns the memory that one device can still give, in bytes."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    import psutil  # the host's memory is the device's only on CPU

    return min(int(psutil.virtual_memory().available), _container_memory_bytes())


def _container_memory_bytes(root: Path = Path("/sys/fs/cgroup")) -> int:
    """What the container's own limit leaves; the host's counters do not know of it."""
    try:
        limit = int((root / "memory.max").read_text(encoding="utf-8"))
        return limit - int((root / "memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no control group, or the limit is "max"
        return sys.maxsize


def memory_needed(compiled: Any) -> int:
    """Returns what one device holds while `compiled` (a `jax.stages.Compiled`) runs, in bytes."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    total = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return int(total + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes)


def check_memory(needed: int, free: int) -> None:
    """Refuses a train step that would not fit, before the machine swaps or the device gives up.

    Raises:
      ValueError: What is needed, what is free, and how to need less.
    """
    if needed > free:
        raise ValueError(
            f"the train step needs {needed / MEBIBYTE:.0f} MiB per device, {free / MEBIBYTE:.0f} "
            "MiB are free; use the word `quick`, a smaller train.batch_size, or "
            "train.microbatch (gradient accumulation)"
        )


def describe_devices(mesh: Mesh) -> str:
    """Returns for example "2 x NVIDIA H100 (gpu)" or "cpu, 2 cores"."""
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        count = f"{mesh.size} x " if mesh.size > 1 else ""
        return f"{count}cpu, {available_cores()} cores"
    return f"{mesh.size} x {device.device_kind} ({device.platform})"


def available_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_host(tree: Any) -> Any:
    """Returns a pytree of arrays as NumPy; rows of other hosts included, in order."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    from jax.experimental import multihost_utils  # only where there are several hosts

    return jax.tree.map(
        lambda x: np.asarray(multihost_utils.process_allgather(x, tiled=True)), tree
    )
