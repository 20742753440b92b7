"""Devices: multi-host start, the one-dimensional "data" mesh, shardings, host to device.

Data parallelism is `jit` with `NamedSharding`: the program is written for the whole batch, and the
compiler splits it. Batch statistics are therefore those of the global batch on any device count.
"""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def start_multi_host() -> None:
    """Joins the other hosts of a pod, where the environment names a coordinator.

    Single-host runs are left alone. Cloud TPU pods, SLURM and Open MPI are recognised by JAX
    itself; elsewhere set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    """
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1 or _on_tpu_pod():
        jax.distributed.initialize()


def _on_tpu_pod() -> bool:
    return "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


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

    return int(psutil.virtual_memory().available)


def memory_needed(compiled: Any) -> int:
    """Returns what one device holds while `compiled` (a `jax.stages.Compiled`) runs, in bytes."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    total = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return int(total + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes)


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
