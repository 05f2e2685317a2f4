"""What is asked of SLURM, and what is refused before it is asked."""

from pathlib import Path

import pytest

from clntk.engines.slurm import SlurmSettings, _arguments, read_settings, slurm_cluster
from clntk.errors import ClntkError, OptionError


def written(tmp_path, text):
    path = tmp_path / "slurm.yaml"
    path.write_text(text)
    return path


def test_everything_wrong_is_said_at_once(tmp_path):
    path = written(tmp_path, "partiton: gpu\nwalltime: 90\nmemory: lots\ncores: 0\nhost: login1\n")
    with pytest.raises(OptionError) as error:
        read_settings(path)
    said = str(error.value)
    assert said.startswith(f"{path}: 5 problems")
    for part in ("did you mean 'partition'?", "walltime: ", "memory: ", "cores: ", "host: "):
        assert part in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("minimum: 5\nmaximum: 2", "minimum to be at most maximum"),
        ("walltime: 01:00:00\nlifetime: 01:00:00", "lifetime to be less than walltime"),
        ('walltime: "1h"', "walltime: expected a time written"),
        ("walltime: 10:00:00", "walltime: expected a time in quotes"),
        ("- 1", "keys and values"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, text, said):
    with pytest.raises(OptionError, match=said):
        read_settings(written(tmp_path, text))


@pytest.mark.parametrize("text", ["a: [", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "none.yaml" if text is None else written(tmp_path, text)
    with pytest.raises(ClntkError, match=f"expected a YAML file of settings at {path}"):
        read_settings(path)


@pytest.mark.parametrize(
    ("walltime", "lifetime"), [("02:00:00", 6900), ("00:10:00", 480), ("1-00:00:00", 86100)]
)
def test_workers_end_before_their_job_does(walltime, lifetime):
    assert SlurmSettings(walltime=walltime).worker_lifetime == lifetime
    assert SlurmSettings(walltime=walltime, lifetime="00:05:00").worker_lifetime == 300


def test_talk_is_encrypted_unless_it_stays_on_this_machine():
    assert not SlurmSettings().encrypted
    assert SlurmSettings(host="10.0.0.1").encrypted
    assert not SlurmSettings(host="10.0.0.1", tls=False).encrypted
    assert SlurmSettings(tls=True).encrypted


def test_what_slurm_and_the_workers_are_told(tmp_path):
    text = "partition: gpu\naccount: me\ngpus: 1\nmemory: 8GB\ndirectives: [--qos=low]\nenvironment: [module load cuda]"
    settings = read_settings(written(tmp_path, text))
    assert Path(settings.logs) == tmp_path / "slurm-logs"
    told = _arguments(settings, str(tmp_path))
    assert (told["queue"], told["account"], told["memory"], told["cores"]) == ("gpu", "me", "8GB", 1)
    assert told["job_extra_directives"] == ["--gres=gpu:1", "--qos=low"]
    assert told["job_script_prologue"] == ["module load cuda"]
    extra = " ".join(told["worker_extra_args"])
    assert "--nthreads 1 --lifetime 3300s" in extra
    assert "--host 127.0.0.1" in extra
    assert "--host" not in " ".join(
        _arguments(settings.model_copy(update={"host": "10.0.0.1", "tls": False}), "")["worker_extra_args"]
    )


def test_without_slurm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ClntkError, match="expected SLURM on this machine, found no sbatch"),
        slurm_cluster(written(tmp_path, "")),
    ):
        pass
