"""Every program of the bench starts."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import bench


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(bench.__path__)])
def test_a_module_of_the_bench_can_be_imported(name):
    assert importlib.import_module(f"bench.{name}").__doc__
