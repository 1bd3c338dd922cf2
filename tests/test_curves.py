"""Curves of training in a precision, beside the noisy reference's own."""

import csv

from bench import curves

NOISY = {f"noise {seed}": [2.0 + 0.01 * seed, 1.0 - 0.01 * seed] for seed in range(8)}


def test_a_curve_within_the_spread_is_told_from_one_that_left_it(capsys):
    assert curves.told("gpt2", "ours", NOISY | {"ours": [2.03, 0.97]})
    assert not curves.told("gpt2", "ours", NOISY | {"ours": [2.03, 1.97]})
    assert "(step 1)" in capsys.readouterr().out


def test_the_noisy_reference_and_a_runtime_train_alike(tmp_path, capsys):
    arguments = ["mlp", "--steps", "6", "--backends", "torch_cpu"]
    file, picture = tmp_path / "curves.csv", tmp_path / "curves.svg"
    assert curves.main([*arguments, "--csv", str(file), "--plot", str(picture)]) == 0
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["curve"] for row in rows} == {"torch_cpu", *(f"noise {seed}" for seed in range(curves.SEEDS))}
    assert len(rows) == 6 * (curves.SEEDS + 1)
    assert picture.read_text().startswith("<?xml")
    assert "mlp torch_cpu: loss" in capsys.readouterr().out
