"""Configuration files: what is refused, and whether the message helps."""

import pytest

from leopold_model import config


def test_defaults_are_valid():
    assert config.parse({}, config.TrainConfig).network.cutoff == 5.0
    assert config.parse({"temperatures": [600, 900]}, config.MDConfig).temperatures == (600.0, 900.0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"epoch": 3}, ["'epoch'", "'epochs'"]),
        ({"network": {"cutof": 4}}, ["'network.cutof'", "'cutoff'"]),
        ({"network": {"cutoff": -1.0}}, ["network.cutoff", "-1.0", "greater than 0"]),
        ({"zzz": 1}, ["'zzz'", "known keys are", "batch_size"]),
    ],
)
def test_faults_are_named_with_key_value_and_remedy(data, words):
    with pytest.raises(config.ConfigError) as error:
        config.parse(data, config.TrainConfig)
    for word in words:
        assert word in str(error.value)


def test_every_fault_is_listed():
    with pytest.raises(config.ConfigError) as error:
        config.parse({"epochs": 0, "batch_size": 0, "lerning_rate": 1}, config.TrainConfig)
    assert len(str(error.value).splitlines()) == 3


def test_file_without_kind(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("epochs: 3\n")
    with pytest.raises(config.ConfigError, match="kind"):
        config.load(path)
    for content in (b"epochs: [3\n", "kind: trän".encode("latin-1")):
        path.write_bytes(content)
        with pytest.raises(config.ConfigError, match="not valid YAML"):
            config.load(path)


@pytest.mark.parametrize(("kind", "key"), [("train", "output"), ("md", "trajectory"), ("md", "track")])
def test_nothing_is_written_outside_the_folder(kind, key):
    for name in ("../a.h5", "/etc/a.h5", "a/../../b.h5", ".", ""):
        with pytest.raises(config.ConfigError, match=f"{key} = .*nothing is written elsewhere"):
            config.parse({key: name}, config.KINDS[kind])
    assert getattr(config.parse({key: "runs/a.h5"}, config.KINDS[kind]), key) == "runs/a.h5"
