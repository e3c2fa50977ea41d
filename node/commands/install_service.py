"""The node as a service of systemd: a hardened unit, and a user of its own."""

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.commands.shutdown import EXIT_SECONDS
from node.errors import ConfigError
from node.ledger import read_url
from node.settings import Settings

USER = "isocenter"
UNIT = Path("/etc/systemd/system/isocenter.service")
STATE = Path("/var/lib/isocenter")
WATCHDOG_SECONDS = 120
PRIVILEGED_PORTS = 1024
PRIVATE, FOR_GROUP = 0o700, 0o750

TEXT = """\
# Written by `isocenter service install`. `systemctl edit isocenter` keeps changes of yours apart from this file.
[Unit]
Description=isocenter, a DICOM AI node
After=network-online.target postgresql.service
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} serve --config {config}
# fails, and changes nothing, if a file has a mistake
ExecReload={program} reload --config {config}
WorkingDirectory={folder}
User={user}
Group={user}
UMask=0077
{state}Restart=on-failure
RestartSec=5
WatchdogSec={watchdog}
# a new version migrates the ledger before it starts
TimeoutStartSec=900
# engine.stop_seconds, and what an orderly end takes beyond it
TimeoutStopSec={stop}
KillMode=mixed
LimitNOFILE=65536
# a core would hold images
LimitCORE=0

# What it may reach. PyTorch compiles code at run time, so memory may be written and executed.
ReadWritePaths={writable}
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateMounts=yes
{devices}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallFilter=~@privileged @obsolete
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
NO_GPU = "PrivateDevices=yes"
GPU = "DevicePolicy=closed\nDeviceAllow=char-nvidia* rw"
HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a node: what its user writes, and what it only reads."""

    config: Path
    written: tuple[Path, ...]
    read: tuple[Path, ...]

    @classmethod
    def of(cls, config: Path, settings: Settings) -> "Places":
        """Return the folders that the settings name."""
        address = read_url(settings.ledger.url)
        ledger = [Path(address.database or "").parent] if address.drivername == "sqlite" else []
        written = dict.fromkeys(path.resolve() for path in (settings.spool.path, *ledger))
        return cls(
            config.resolve(),
            tuple(path for path in written if not written.keys() & set(path.parents)),
            (*(path.resolve() for path in settings.plugins), settings.triton.model_repository.resolve()),
        )


def unit(config: Path, settings: Settings, *, gpu: bool) -> str:
    """Return the text of the unit."""
    places = Places.of(config, settings)
    under_state = any(path == STATE or STATE in path.parents for path in places.written)
    low = settings.receive.address.port < PRIVILEGED_PORTS
    at_home = any(str(path).startswith(HOMES) for path in (*places.written, *places.read, places.config, program()))
    return TEXT.format(
        program=program(),
        config=places.config,
        folder=places.config.parent,
        user=USER,
        state=f"StateDirectory={STATE.name}\nStateDirectoryMode=0700\n" if under_state else "",
        watchdog=WATCHDOG_SECONDS,
        stop=round(settings.engine.stop_seconds + EXIT_SECONDS + 5),
        writable=" ".join(map(str, places.written)),
        home="read-only" if at_home else "yes",
        devices=GPU if gpu else NO_GPU,
        capabilities="CAP_NET_BIND_SERVICE" if low else "",
    )


def program() -> Path:
    """Return the program `isocenter` of the environment that this process runs in."""
    return Path(sys.executable).parent / "isocenter"


def has_gpu() -> bool:
    """Return whether this machine has an NVIDIA GPU with its driver."""
    return Path("/proc/driver/nvidia").exists()


def install(config: Path, settings: Settings, file: Path = UNIT) -> Iterator[str]:
    """Make the user, give it the node's folders, write the unit, and say what was done.

    Raises
    ------
    ConfigError
        Who calls is not root, systemd is not there, or the user cannot read what it needs.
    """
    if os.geteuid():
        raise ConfigError(
            "only root may install a service: sudo isocenter service install; --print only shows the unit"
        )
    if shutil.which("systemctl") is None:
        raise ConfigError("there is no systemctl here; --print shows the unit for a machine that runs systemd")
    text = unit(config, settings, gpu=has_gpu())
    if file.exists() and file.read_text(encoding="utf-8") != text:
        kept = file.with_name(f"{file.name}.before")
        shutil.copy2(file, kept)
        yield f"the former unit is kept as {kept}"
    yield from _make_user()
    yield from _give(Places.of(config, settings))
    _try_as_user(config)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    yield f"written: {file}"
    subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True)
    yield f"start it: systemctl enable --now {file.stem}; its log: journalctl -u {file.stem}"


def _make_user() -> Iterator[str]:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(STATE), "--shell",
             "/usr/sbin/nologin", USER],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode:
            raise ConfigError(f"the user {USER} cannot be made: {made.stderr.strip()}") from None
        yield f"made: the user {USER}"


def _give(places: Places) -> Iterator[str]:
    """Give the node's user what it writes, and its group what it reads; nobody else sees either."""
    user, group = pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
    for folder in places.written:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)
        folder.chmod(PRIVATE)
        yield f"{USER} owns {folder}"
    for folder in (places.config.parent, *places.read):
        if folder.is_dir() and folder.stat().st_uid == 0 and not _ours(folder):
            for path in (folder, *folder.rglob("*")):
                if not path.is_symlink():
                    os.chown(path, -1, group)
                    path.chmod(path.stat().st_mode | (0o050 if path.is_dir() else 0o040))
            yield f"the group {USER} reads {folder}"
    for folder in {path.parent for path in (places.config.parent, *places.written)}:
        if not folder.stat().st_mode & 0o001 and folder.stat().st_uid == 0:
            os.chown(folder, -1, group)
            folder.chmod(folder.stat().st_mode | 0o050)


def _ours(folder: Path) -> bool:
    """Return whether a folder is in a checkout, whose files Git looks after."""
    return any((parent / ".git").exists() for parent in folder.parents)


def _try_as_user(config: Path) -> None:
    """Raise ConfigError where the node's user cannot read program, configuration, plugins or models."""
    try:
        tried = _as_user(config)
    except OSError as error:
        raise ConfigError(
            f"the user {USER} cannot run {program()}: {error.strerror}; install isocenter with a "
            "Python that every user can run, such as /usr/bin/python3, into a folder in no user's home"
        ) from error
    if tried.returncode:
        said = (tried.stderr or tried.stdout).strip().splitlines()[-1:]
        raise ConfigError(
            f"the user {USER} cannot run the node: {''.join(said)}; correct who may read it, and install again"
        )


def _as_user(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program(), "plugin", "list", "--config", config.resolve()],
        check=False, capture_output=True, text=True, user=USER, group=USER, extra_groups=[], cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "HOME": "/"},
    )  # fmt: skip
