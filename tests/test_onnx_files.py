"""An ONNX file of the user's own: read, given shapes and values, and refused in one line where it cannot be run."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from backends._onnx_file import interface, values
from backends._onnx_file.interface import Value
from backends._onnx_file.reading import FileRefused, load
from tests import onnx_models as small


def external(folder):
    """Returns the path of a model whose tensors lie beside it, in `small.onnx.data`."""
    more = {"save_as_external_data": True, "location": "small.onnx.data", "size_threshold": 0}
    return small.saved(small.mlp(), folder, **more)


def test_a_file_is_read_with_its_external_data(tmp_path):
    read = load(external(tmp_path))
    expected = small.mlp().graph.initializer
    assert [onnx.numpy_helper.to_array(t).tolist() for t in read.graph.initializer] == [
        onnx.numpy_helper.to_array(t).tolist() for t in expected
    ]


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileRefused, match=r"^no file .*/none\.onnx$"):
        load(tmp_path / "none.onnx")


@pytest.mark.parametrize("held", [b"", b"no model at all\n", b"\x08\x08"])
def test_what_is_no_onnx_is_refused(tmp_path, held):
    (tmp_path / "a.onnx").write_bytes(held)
    with pytest.raises(FileRefused, match=r"^a\.onnx is no ONNX file"):
        load(tmp_path / "a.onnx")


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = small.saved(small.mlp(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileRefused, match=r"is cut off: .* bytes that do not parse; copy it again"):
        load(path)


def test_missing_external_data_are_refused_by_name(tmp_path):
    path = external(tmp_path)
    (tmp_path / "small.onnx.data").unlink()
    with pytest.raises(FileRefused, match=r"external data 'small\.onnx\.data' is missing \(and 2 more\); put the file"):
        load(path)


def test_external_data_that_are_cut_off_are_refused(tmp_path):
    path = external(tmp_path)
    data = tmp_path / "small.onnx.data"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(FileRefused, match=r"is cut off: \d+ bytes, \d+ are needed"):
        load(path)


def test_external_data_outside_of_the_folder_are_refused(tmp_path):
    made = small.mlp()
    (tmp_path / "secret").write_bytes(bytes(4096))
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], location="../secret")
    made.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "a.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(FileRefused, match=r"its tensor w1 points out of its folder, to '\.\./secret'"):
        load(path)


def test_a_file_that_does_not_fit_into_memory_is_refused_before_it_is_held(tmp_path):
    """Its tensors are declared to be 40 GB, and lie in a file of that size that takes no room on disk."""
    made = small.mlp()
    tensor = made.graph.initializer[0]
    tensor.dims[:] = [10_000_000, 1000]
    onnx.external_data_helper.set_external_data(tensor, location="data", offset=0, length=40_000_000_000)
    tensor.ClearField("raw_data")
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    with (tmp_path / "data").open("wb") as file:
        file.truncate(40_000_000_000)
    with pytest.raises(FileRefused, match=r"does not fit: its tensors take 40\.0 GB, and being verified 4 times that"):
        load(tmp_path / "a.onnx", free=64_000_000_000)


def test_a_value_between_operators_that_does_not_fit_is_refused():
    nodes = [helper.make_node("Expand", ["x", "shape"], ["big"]), helper.make_node("ReduceSum", ["big"], ["y"])]
    shape = {"shape": np.array([1_000_000, 100_000_000], np.int64)}
    made = small.model(nodes, [("x", 1, [1])], [("y", 1, [1, 1])], shape)
    with pytest.raises(FileRefused, match=r"a does not fit: the largest value between its operators takes 4\d+\.\d GB"):
        interface.check_activations("a", made)


def test_inputs_are_what_no_initialiser_fills():
    made = small.mlp()
    made.graph.input.append(helper.make_tensor_value_info("w1", 1, [16, 32]))
    assert interface.inputs_of(made) == (Value("x", "float32", ("batch", 16)),)


@pytest.mark.parametrize(("kind", "word"), [(TensorProto.STRING, "string"), (TensorProto.BFLOAT16, "bfloat16")])
def test_types_that_cannot_be_bound_are_refused(kind, word):
    made = small.model([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, [2])], [("y", kind, [2])])
    with pytest.raises(FileRefused, match=f"its input x is of type {word}; can be bound: BOOL"):
        interface.inputs_of(made)


def test_shapes_are_read_as_they_are_typed():
    assert interface.parse_shapes("x=1,3,48,192 a:0=2; rate=") == {"x": (1, 3, 48, 192), "a:0": (2,), "rate": ()}
    assert interface.parse_shapes(None) == interface.parse_shapes(" ") == {}


@pytest.mark.parametrize("text", ["x", "x=1,0", "x=1,a", "=1", "x=1 x=2"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(FileRefused, match="--model-shapes"):
        interface.parse_shapes(text)


OPEN = (Value("x", "float32", ("N", 3, "h", "w")), Value("state", "float32", (2, "N", "h")))


def test_a_dimension_with_a_name_is_the_same_in_every_input():
    fixed = interface.fixed_inputs(OPEN, {"x": (4, 3, 8, 9)}, None)
    assert [one.dims for one in fixed] == [(4, 3, 8, 9), (2, 4, 8)]


def test_where_the_first_alone_is_open_it_is_the_batch():
    one = (Value("x", "float32", ("N", 3)), Value("mask", "bool", ("?", 7)))
    assert [of.dims for of in interface.fixed_inputs(one, {}, 4)] == [(4, 3), (4, 7)]
    assert [of.dims for of in interface.fixed_inputs(one, {}, None)] == [(1, 3), (1, 7)]


@pytest.mark.parametrize(
    ("shapes", "batch", "says"),
    [
        ({}, None, 'open dimensions in x float32 [1, 3, h, w]; state float32 [2, 1, h]: say --model-shapes "x=1,3,N,N'),
        (
            {"x": (1, 4, 8, 9)},
            None,
            "--model-shapes gives x the shape [1, 4, 8, 9]; the file has x float32 [N, 3, h, w]",
        ),
        ({"x": (1, 3, 8)}, None, "--model-shapes gives x the shape [1, 3, 8]"),
        (
            {"x": (1, 3, 8, 9), "state": (2, 1, 7)},
            None,
            "gives the dimension h of state float32 [2, N, h] as 7 and as 8",
        ),
        ({"z": (1,)}, None, "--model-shapes names 'z'; its inputs: x float32"),
        ({"x": (1, 3, 8, 9)}, 4, "--batch 4: no input of the file takes it"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, batch, says):
    with pytest.raises(FileRefused, match=re.escape(says)):
        interface.fixed_inputs(OPEN, shapes, batch)


def test_ids_lie_below_the_rows_of_the_table_that_they_look_up():
    made = small.tokens()
    inputs = interface.fixed_inputs(interface.inputs_of(made), {}, 50)
    first, second = values.make_batches(made, inputs, {})
    assert interface.bound_of(made, "ids") == 11
    assert (first["ids"].dtype, first["ids"].shape) == (np.dtype(np.int32), (50, 6))
    assert {*np.unique(first["ids"])} == {*range(11)}
    assert not np.array_equal(first["ids"], second["ids"])


def test_integers_that_nothing_bounds_are_refused_with_the_cure():
    made = small.branching()
    with pytest.raises(FileRefused, match=r"range of rate int64 \[\]: .*give --model-inputs FILE\.npz"):
        values.make_batches(made, interface.inputs_of(made), {})


def test_values_are_taken_from_a_file_and_the_second_batch_is_made_of_the_first(tmp_path):
    made = small.branching()
    x = small.draw(2, 3)
    np.savez(tmp_path / "a.npz", x=x, rate=16)
    given = values.read_given(tmp_path / "a.npz")
    first, second = values.make_batches(made, interface.inputs_of(made), given)
    assert (first["rate"], second["rate"], first["rate"].shape) == (16, 16, ())
    assert np.array_equal(first["x"], x)
    assert np.array_equal(second["x"], x[::-1])
    assert np.array_equal(values.make_batches(made, interface.inputs_of(made), given | {"1.x": x + 1})[1]["x"], x + 1)


def test_the_second_batch_differs_where_the_first_axis_makes_no_difference():
    image = np.repeat(small.draw(1, 1, 4, 5), 3, axis=1)
    made = small.model([helper.make_node("Tanh", ["x"], ["y"])], [("x", 1, [1, 3, 4, 5])], [("y", 1, [1, 3, 4, 5])])
    first, second = values.make_batches(made, interface.inputs_of(made), {"x": image})
    assert np.array_equal(second["x"], first["x"][:, :, ::-1])


def test_files_of_values_that_do_not_fit_are_refused(tmp_path):
    made = small.mlp(batch=2)
    inputs = interface.inputs_of(made)
    with pytest.raises(FileRefused, match=r"gives x as float32 \[2, 15\]; expected float32 \[2, 16\]"):
        values.make_batches(made, inputs, {"x": small.draw(2, 15)})
    with pytest.raises(FileRefused, match="has 'y'; its inputs: x float32"):
        values.make_batches(made, inputs, {"y": small.draw(2, 16)})
    (tmp_path / "a.npz").write_text("nothing")
    with pytest.raises(FileRefused, match=r"a\.npz is no \.npz file of plain arrays"):
        values.read_given(tmp_path / "a.npz")
    with pytest.raises(FileRefused, match="no file"):
        values.read_given(Path("none.npz"))


def test_quantised_as_it_runs_and_vendors_own_have_no_oracle():
    assert interface.without_oracle(small.mlp()) == ""
    assert interface.without_oracle(small.dynamically_quantized()).startswith(
        "no oracle: DynamicQuantizeLinear, MatMulInteger: "
    )
    node = helper.make_node("FusedGemm", ["x", "w"], ["y"], domain="com.microsoft")
    held = {"w": small.draw(16, 4)}
    made = small.model([node], [("x", 1, [2, 16])], [("y", 1, [2, 4])], held, domains=["com.microsoft"])
    assert interface.without_oracle(made).startswith("no oracle: com.microsoft.FusedGemm: ")


def test_what_lies_in_a_branch_is_seen():
    counts = interface.operators_of(small.branching())
    assert counts == {"Equal": 1, "If": 1, "Mul": 1, "Add": 1}
