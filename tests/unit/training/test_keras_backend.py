"""The door to Keras: quiet, and right about gradients."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from pipeline.training import keras_backend
from pipeline.training.keras_backend import keras, to_numpy

ops = keras.ops


def test_loading_and_using_it_writes_nothing():
    code = "from pipeline.training.keras_backend import tf, keras; keras.layers.Dense(2)(tf.ones((1, 3)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_vjp_is_the_row_combination_of_the_jacobian():
    x = np.array([[1.0, 2.0]], np.float32)
    y, pull = keras_backend.vjp(
        lambda x: ops.stack([x[:, 0] * x[:, 1], ops.square(x[:, 0])], axis=1), ops.convert_to_tensor(x)
    )
    assert to_numpy(y).tolist() == [[2.0, 1.0]]
    assert to_numpy(pull(ops.convert_to_tensor([[1.0, 0.0]]))).tolist() == [[2.0, 1.0]]
    assert to_numpy(pull(ops.convert_to_tensor([[0.0, 3.0]]))).tolist() == [[6.0, 0.0]]


def test_gradients_belong_to_their_variables():
    a, b = keras.Variable(3.0), keras.Variable(5.0)
    auxiliary, gradients = keras_backend.value_and_gradients(lambda: (a * a * b, "also"), [a, b])
    assert auxiliary == "also"
    assert [float(g) for g in gradients] == [30.0, 9.0]


def test_compiled_takes_any_size_where_the_signature_is_open():
    double = keras_backend.compiled(lambda x: x * 2, ((None, 3), "float32"))
    assert to_numpy(double(np.ones((2, 3), np.float32))).shape == (2, 3)
    assert to_numpy(double(np.ones((5, 3), np.float32))).sum() == 30
