"""Multi-host start, memory limits, batches that split."""

import sys

import jax
import numpy as np
import pytest

from ecc_jax import parallel


@pytest.fixture
def started(monkeypatch):
    """Records calls of jax.distributed.initialize, in an environment without a cluster."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **kwargs: calls.append(kwargs))
    for name in (*parallel._COORDINATOR, *parallel._CLUSTER_SIZES, "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_single_host_is_left_alone(started):
    parallel.start_multi_host()
    assert started == []


def test_named_coordinator(started, monkeypatch):
    for name, value in zip(parallel._COORDINATOR, ("host:1", "4", "2"), strict=True):
        monkeypatch.setenv(name, value)
    parallel.start_multi_host()
    assert started == [{"coordinator_address": "host:1", "num_processes": 4, "process_id": 2}]


def test_half_named_coordinator_says_what_is_missing(started, monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1")
    with pytest.raises(ValueError, match="not JAX_NUM_PROCESSES, JAX_PROCESS_ID"):
        parallel.start_multi_host()


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
@pytest.mark.parametrize(("size", "count"), [("1", 0), ("3", 1)])
def test_clusters_that_jax_knows(started, monkeypatch, name, size, count):
    monkeypatch.setenv(name, size)
    parallel.start_multi_host()
    assert len(started) == count


def test_container_limit_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert parallel._container_memory_bytes(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert parallel._container_memory_bytes(tmp_path) == sys.maxsize
    assert parallel._container_memory_bytes(tmp_path / "missing") == sys.maxsize


def test_rows_split_over_devices():
    mesh = parallel.make_mesh(4)
    parallel.check_divisible("train.batch_size", 8, mesh)
    with pytest.raises(ValueError, match="train.batch_size=6 .* 4 devices; use .*=8"):
        parallel.check_divisible("train.batch_size", 6, mesh)


def test_there_and_back_again():
    mesh = parallel.make_mesh(8)
    rows = np.arange(16.0).reshape(8, 2)
    placed = parallel.to_global({"x": rows}, mesh)
    assert len(placed["x"].addressable_shards) == 8
    np.testing.assert_array_equal(parallel.to_host(placed)["x"], rows)


def test_memory_needed_counts_arguments_and_results():
    x = jax.ShapeDtypeStruct((1024, 256), np.float32)
    compiled = jax.jit(lambda a: a + 1).lower(x).compile()
    assert parallel.memory_needed(compiled) >= 2 * 2**20
