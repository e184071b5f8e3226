"""Job and board files: every mistake is one line naming file, key, value and what is allowed."""

from __future__ import annotations

import pytest

from pipeline.config import board, job
from pipeline.core import paths, schema
from pipeline.core.errors import ConfigError

JOB = """
name = "toy"
[dataset]
name = "digits"
[model]
name = "digits_cnn"
[train]
epochs = 3
"""
FILE = JOB.replace('name = "digits_cnn"', 'file = "missing.keras"')
ATTACK = """
[[attacks]]
name = "fgsm"
eps = ["8/255", 0.1]
"""
ADVERSARIAL = """
[train.adversarial]
method = "pgd"
eps = "8/255"
"""


def load_job(tmp_path, text):
    path = tmp_path / "toy.toml"
    path.write_text(text)
    return job.load(path)


def test_a_small_job_is_valid_and_frozen(tmp_path):
    loaded = load_job(tmp_path, JOB + ATTACK)
    assert (loaded.name, loaded.train.epochs, loaded.attacks[0].eps) == ("toy", 3, ("8/255", "0.1"))
    assert job.eps_value("8/255") == 8 / 255
    with pytest.raises(ValueError, match="frozen"):
        loaded.name = "other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (JOB.replace("epochs", "epoch"), "unknown key 'train.epoch'; did you mean 'epochs'?"),
        (JOB.replace("epochs = 3", "epochs = -3"), "key 'train.epochs' = -3: Input should be greater than 0"),
        (JOB.replace("epochs = 3", 'epochs = "three"'), "key 'train.epochs' = 'three'"),
        (JOB.replace("epochs = 3", "epochs = 2.5"), "key 'train.epochs' = 2.5"),
        (JOB.replace("epochs = 3", ""), "key 'train.epochs' is missing"),
        (JOB.replace('"digits"', '"digit"'), "unknown data set 'digit'; did you mean 'digits'?"),
        (JOB.replace('"digits_cnn"', '"resnet"'), "unknown model 'resnet'"),
        (JOB.replace("[model]", "[model]\nweight_bits = 5"), "key 'model.weight_bits' = 5"),
        (JOB + ATTACK.replace("8/255", "-8/255"), "must be a positive number or a fraction"),
        (JOB + ATTACK.replace("8/255", "8/0"), "must be a positive number or a fraction"),
        (JOB + ATTACK.replace('"8/255", 0.1', ""), "key 'attacks.0.eps'"),
        (JOB + ATTACK.replace("fgsm", "fgms"), "unknown attack 'fgms'; did you mean 'fgsm'?"),
        (JOB + ATTACK + ATTACK, "attacks.0 and attacks.1 are the same: fgsm at eps 8/255"),
        (JOB + ATTACK.replace("0.1", '"16/510"'), "eps: 8/255, 16/510: the same budget twice"),
        (JOB.replace('"toy"', '"To y"'), "key 'name' = 'To y'"),
        (JOB.replace("epochs = 3", "epochs = 3\ntemperature = nan"), "key 'train.temperature'"),
        (JOB.replace("[model]", "[model]\nlayer_bits = {conv1 = 5}"), "key 'model.layer_bits.conv1' = 5"),
        (JOB.replace("[model]", "[model]\nactivation_bits = 1"), "key 'model.activation_bits' = 1"),
        (JOB.replace("[model]", "[model]\nwidth = 9"), "key 'model.width' = 9"),
        (JOB.replace("[model]", '[model]\nalpha = "max"'), "key 'model.alpha' = 'max'"),
        (JOB + 'initial = "original"', 'train.initial: "original" is the network of model.file, and there is none'),
        (JOB + 'distill = "original"', 'train.distill: "original" is the network of model.file, and there is none'),
        (JOB.replace("[model]", '[model]\nfile = "x.keras"'), "table 'model': file: goes with name \"clone\""),
        (JOB.replace("digits_cnn", "clone"), "table 'model': file: goes with name \"clone\""),
        (JOB.replace("[model]", "[model]\ninput_range = [0, 1]"), "table 'model': input_range: goes with file"),
        (FILE.replace("[train]", "width = 2\n[train]"), "table 'model': width: a model file has its own"),
        (FILE.replace("[train]", "activation_bits = 4\n[train]"), "table 'model': activation_bits: a model file has"),
        (FILE.replace("[train]", "input_range = [1, 0]\n[train]"), "table 'model': input_range: the first number"),
        (FILE + 'initial = "random"', 'train.initial: "random" goes with a builder'),
        (FILE, "key 'model.file': "),
        (JOB + "temperature = -1", "key 'train.temperature' = -1"),
        (JOB + "jacobian_lambda = -0.1", "key 'train.jacobian_lambda' = -0.1: must be a number, at least 0"),
        (JOB + "jacobian_lambda = {conv1 = inf}", "table 'train.jacobian_lambda': must be a number, at least 0"),
        (JOB + "jacobian_lambda = {conv1 = 1}", "table 'train': jacobian_lambda: a table by block needs jacobian"),
        (JOB + "jacobian_share = 0", "key 'train.jacobian_share' = 0"),
        (JOB + "ema = 1", "key 'train.ema' = 1"),
        (JOB + "final_temperature = 4", "table 'train': final_temperature: goes with temperature_schedule"),
        (JOB + 'temperature_schedule = "linear"', "table 'train': final_temperature: goes with temperature_schedule"),
        (JOB + "robust_samples = 10", "table 'train': robust_eps: needed with robust_samples"),
        (JOB + 'best_by = "robust_accuracy"', "table 'train': best_by: \"robust_accuracy\" needs robust_samples"),
        (JOB + "distill_weight = 0.6", "table 'train': distill: needed with distill_weight"),
        (JOB + ADVERSARIAL.replace("pgd", "pdg"), "key 'train.adversarial.method' = 'pdg'"),
        (JOB + ADVERSARIAL.replace("8/255", "0"), "must be a positive number or a fraction"),
        (JOB + ADVERSARIAL.replace("pgd", "fast_fgsm") + "steps = 2", "table 'train.adversarial': steps:"),
        (JOB + ADVERSARIAL + "beta = 2.0", "table 'train.adversarial': beta: belongs to"),
        (
            JOB + ADVERSARIAL.replace("pgd", "trades") + "random_start = false",
            "table 'train.adversarial': random_start:",
        ),
        (JOB + ADVERSARIAL + "step = 2", "unknown key 'train.adversarial.step'; did you mean 'steps'?"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_value(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:
        load_job(tmp_path, text)
    message = str(caught.value)
    assert says in message
    assert "toy.toml" in message
    assert "\n" not in message


def test_a_job_written_out_in_full_is_the_same_job(tmp_path):
    """Stored models carry their job with every option spelled out."""
    for text in (JOB, JOB + ADVERSARIAL, JOB + ADVERSARIAL.replace("pgd", "trades") + "beta = 2.0"):
        loaded = load_job(tmp_path, text)
        assert schema.validate(job.Job, loaded.model_dump(mode="json"), "stored") == loaded


def test_a_missing_job_lists_the_ready_made_ones(tmp_path):
    with pytest.raises(ConfigError) as caught:
        job.load(tmp_path / "digit.toml")
    assert "jobs/digits.toml" in caught.value.hint


def test_every_ready_made_job_is_valid_and_named_like_its_file():
    found = sorted((paths.RESOURCES / "jobs").glob("*.toml"))
    assert found
    for path in found:
        loaded = job.load(path)
        assert loaded.name == path.stem
        assert loaded.description
        board.load(loaded.board)


def test_an_unknown_board_lists_all_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        board.load("netduinoplus")
    assert "did you mean 'netduinoplus2'?" in str(caught.value)
    assert all(name in caught.value.hint for name in board.names())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('core = "host"', 'core = "cortex-m5"', "unknown core 'cortex-m5'"),
        ('kind = "pipe"', 'kind = "usb"', "key 'link.kind' = 'usb'"),
        ("max_payload = 2048", "max_payload = 4096", "at least link.max_payload + 16"),
        ('mcu = "none"', "", "key 'mcu' is missing"),
        ('name = "host"', 'name = "mine"', "must be the file's name 'host'"),
    ],
)
def test_a_wrong_board_file_is_refused(tmp_path, old, new, says):
    text = (paths.shipped("boards") / "host.toml").read_text()
    assert old in text
    path = tmp_path / "host.toml"
    path.write_text(text.replace(old, new).replace("rx_buffer_bytes = 8192", "rx_buffer_bytes = 2200"))
    with pytest.raises(ConfigError) as caught:
        board.load(str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["../../x", ".x", "a/b", 'a"b', "a\\nb", "a\x7f", "x" * 65, "", "-x"])
def test_a_board_name_that_is_no_name_is_refused(name):
    table = schema.read_toml(paths.RESOURCES / "boards" / "host.toml") | {"name": name}
    with pytest.raises(ConfigError, match=r"key 'name' = .*must be letters, digits"):
        schema.validate(board.Board, table, "x.toml")


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("", "mcu", "STM32\n#define X"),
        ("", "description", "a\x1b[2J"),
        ("defines", "X\n", 1),
        ("defines", "X", '1\n#include "/etc/passwd"'),
        ("defines", "X", "1; int f(void)"),
        ("emulator", "machine", "x\ny"),
    ],
)
def test_texts_of_a_board_that_would_become_code_are_refused(table, key, value):
    content = schema.read_toml(paths.RESOURCES / "boards" / "netduinoplus2.toml")
    (content[table] if table else content)[key] = value
    with pytest.raises(ConfigError):
        schema.validate(board.Board, content, "x.toml")


@pytest.mark.parametrize("path", ["../../evil.cfg", "/etc/x.cfg", "board/x}; exec evil; {.cfg", "board/a b.cfg"])
def test_an_openocd_script_is_one_of_its_own(path):
    content = schema.read_toml(paths.RESOURCES / "boards" / "netduinoplus2.toml")
    content["runner"], content["flashing"] = "openocd", {"openocd": {"config": [path]}}
    with pytest.raises(ConfigError, match="relative path"):
        schema.validate(board.Board, content, "x.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("batch_size = ", 'batch_size = "64" # ', "batch_size"),
        ("epochs = ", "epochs = true # ", "epochs"),
        ("epochs = ", "epochs = 2.0 # ", "epochs"),
        ("seed = ", f"seed = {'9' * 5000} # ", "not valid TOML: Exceeds the limit"),
        ("seed = ", f"seed = {'[' * 100_000} # ", "nested too deeply"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, old, new, says):
    text = (paths.RESOURCES / "jobs" / "digits.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "job.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        job.load(tmp_path / "job.toml")
    assert "sys.set_int" not in str(caught.value)


def test_a_byte_order_mark_is_accepted_and_utf_16_is_named(tmp_path):
    text = (paths.RESOURCES / "jobs" / "digits.toml").read_text(encoding="utf-8")
    (tmp_path / "job.toml").write_text(text, encoding="utf-8-sig")
    assert job.load(tmp_path / "job.toml").name == "digits"
    (tmp_path / "job.toml").write_text(text, encoding="utf-16")
    with pytest.raises(ConfigError, match="is UTF-16"):
        job.load(tmp_path / "job.toml")


def test_a_model_file_is_named_from_the_job_on_and_is_where_training_begins(tmp_path):
    (tmp_path / "missing.keras").write_bytes(b"weights")
    loaded = load_job(tmp_path, FILE)
    assert (loaded.model.name, loaded.model.file) == ("clone", str(tmp_path / "missing.keras"))
    assert (loaded.train.initial, loaded.train.distill) == ("original", "original")
    assert "file" not in loaded.model.identity(), "its content tells one from another"
    assert job.earlier(loaded) == (tmp_path / "missing.keras",)
    stored = schema.validate(job.Job, loaded.model_dump(mode="json"), "stored")
    assert stored == loaded
    assert load_job(tmp_path, FILE + 'distill = "none"').train.distill is None
    assert load_job(tmp_path, JOB + 'distill = "none"') == load_job(tmp_path, JOB)
