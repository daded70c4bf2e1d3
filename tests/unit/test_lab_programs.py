"""Finding programs on PATH, and installing what is not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.native import install, programs

MakeProgram = Callable[..., Path]


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProgram:
    """Makes programs below a prefix of its own, the only one on PATH; the user's cache is empty."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("LAB_TRACES", raising=False)

    def make(name: str, text: str = "#!/bin/sh\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


def test_an_empty_machine_misses_everything(prefix: MakeProgram) -> None:
    """Each program that is absent is named once."""
    prefix("bin/other")
    assert programs.missing() == ["rabbitmq", "kafka", "prometheus", "jaeger"]


def test_programs_of_any_prefix_are_used(prefix: MakeProgram) -> None:
    """With every program on PATH nothing is missing, wherever the prefix lies and with no cache."""
    for name in ("rabbitmq-server", "epmd", "prometheus", "jaeger", "kafka-server-start.sh", "kafka-storage.sh"):
        prefix(f"bin/{name}")
    assert programs.missing() == []
    found = programs.found()
    assert found.kafka.server[0].endswith("bin/kafka-server-start.sh")
    assert found.kafka.storage[0].endswith("bin/kafka-storage.sh")


def test_sbin_beside_bin_is_searched(prefix: MakeProgram) -> None:
    """A server in `sbin`, which an ordinary user's PATH leaves out, is found beside `bin`."""
    server = prefix("sbin/rabbitmq-server")
    assert programs.rabbitmq_server() == server


def test_the_script_behind_a_wrapper_is_taken(prefix: MakeProgram, tmp_path: Path) -> None:
    """Where PATH has a wrapper that insists on its own user, the script beside the wrapper's file is used."""
    wrapper = prefix("lib/rabbitmq/rabbitmq-script-wrapper")
    real = prefix("lib/rabbitmq/rabbitmq-server")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rabbitmq-server").symlink_to(wrapper)
    assert programs.rabbitmq_server() == real


def test_an_old_java_does_not_count(prefix: MakeProgram) -> None:
    """Java before 17 is as good as none."""
    prefix("bin/java", "#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    assert programs.java() is None
    prefix("bin/java", "#!/bin/sh\necho 'openjdk version \"21.0.1\" 2023-10-17' >&2\n")
    assert programs.java() is not None


def test_traces_off_goes_without_jaeger(prefix: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAB_TRACES=off takes Jaeger off the list of what is needed."""
    prefix("bin/other")
    monkeypatch.setenv("LAB_TRACES", "off")
    assert "jaeger" not in programs.missing()


def test_without_root_the_one_command_is_named(prefix: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not install gets the command to run, with all the packages in it."""
    prefix("bin/apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as failure:
        install.ensure()
    assert (
        "`sudo apt-get install -y --no-install-recommends rabbitmq-server prometheus default-jre-headless maven`"
        in str(failure.value)
    )


def test_without_apt_the_programs_are_named(prefix: MakeProgram) -> None:
    """On a machine without apt the sentence says which programs have to be on PATH."""
    prefix("bin/other")
    with pytest.raises(LabError, match=r"rabbitmq-server and prometheus .*must be on PATH"):
        install.ensure()


def test_a_full_disk_is_told_before_anything_is_fetched(prefix: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room ends in a sentence with both sizes, and apt is never called."""
    called = prefix("bin/apt-get", "#!/bin/sh\ntouch called\n").parent / "called"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 5_000_000, 5_000_000))
    with pytest.raises(LabError, match="5 MB free and this installation needs 700 MB"):
        install.ensure()
    assert not called.exists()


def test_a_failed_installation_says_why_and_leaves_nothing(prefix: MakeProgram, tmp_path: Path) -> None:
    """Maven's last words and the log are in the message, and no half-made folder of jars stays."""
    for name in ("rabbitmq-server", "epmd", "prometheus", "jaeger"):
        prefix(f"bin/{name}")
    prefix("bin/java", "#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    prefix("bin/mvn", "#!/bin/sh\necho 'Could not transfer artifact'\nexit 1\n")
    with pytest.raises(LabError, match=r"Could not transfer artifact.*install-kafka\.log"):
        install.ensure()
    assert not programs.kafka_jars().exists()
    assert [entry.name for entry in (tmp_path / "cache/campus-food-lab").iterdir()] == ["install-kafka.log"]


def test_services_are_held_back_only_during_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy that keeps packages from starting services is there within the block alone."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(install, "SERVICE_POLICY", policy)
    with pytest.raises(RuntimeError), install._no_service_starts():
        assert policy.stat().st_mode & 0o111
        raise RuntimeError
    assert not policy.exists()


def test_a_policy_of_the_administrator_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that was there before is neither changed nor removed."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    monkeypatch.setattr(install, "SERVICE_POLICY", policy)
    with install._no_service_starts():
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"
