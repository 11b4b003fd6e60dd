"""Settings: flags over `OFFBEAT_*` variables over the file named by `OFFBEAT_CONFIG`."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

DEFAULT_URL = "http://127.0.0.1:8844"


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="OFFBEAT_", extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class fixes the arguments
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class fixes the arguments
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get("OFFBEAT_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return init_settings, env_settings, *toml


def spool_directory() -> Path:
    """Return the system's place for a spool, or one in the home directory of an account that may not write there."""
    system = Path("/var/lib/offbeat")
    if os.access(system if system.is_dir() else system.parent, os.W_OK):
        return system / "spool"
    return Path(os.path.expanduser("~/.local/state/offbeat/spool"))  # noqa: PTH111 - pathlib's raises without a home


class ClientSettings(_Settings):
    """Where the service is, and who we are to it."""

    url: str = Field(DEFAULT_URL, description="base URL of the service")
    token: SecretStr = Field(SecretStr(""), description="bearer token")


class AgentSettings(ClientSettings):
    """The node daemon."""

    host: str = Field(default_factory=socket.gethostname, description="name of this host, as tokens are bound to it")
    ring_dir: Path = Field(Path("/dev/shm/offbeat"), description="where recorders put their rings")  # noqa: S108 - shared memory, each ring 0600
    spool_dir: Path = Field(default_factory=spool_directory, description="what the service has not yet made durable")
    spool_bytes: int = Field(256 << 20, description="bound of the spool; without it a long outage fills the disk")
    spool_hours: float = Field(
        24.0, gt=0, le=168, description="age at which batches in the spool are given up; at most a week"
    )
    poll_seconds: float = Field(0.25, description="how often rings are read; longer delays every finding by as much")
    sample_seconds: float = Field(1.0, description="how often TCP, host and process facts are read")
    orders: str = Field(
        "bounds,drill_down",
        description="what the service may ask of this node: templates of orders, several joined by ','; empty: nothing",
    )
    detail: Literal["raw", "reduced"] = Field(
        "raw",
        description="what is sent of operations: all, which is for up to about a hundred nodes; or sums over blocks of "
        "them, some dozens a second and rank one by one, and all that are under way",
    )
    window_bytes: int = Field(
        0,
        ge=0,
        description="memory for single operations kept on the node, for drill-downs; 0: none are kept. Eight ranks at "
        "a thousand operations a second fill 32 MiB in 17 seconds",
    )
    metrics: str = Field(
        "", description="where the agent answers /metrics, as 127.0.0.1:9810; empty: nowhere, and nothing listens"
    )
    inject: bool = Field(
        False, description="take events that an operator on this host makes up with `offbeat agent inject`"
    )
    kernel_log: bool = Field(True, description="read the kernel's log; takes root where the kernel restricts it")
    gpu: bool = Field(True, description="read NVIDIA GPUs through their management library")
    infiniband: bool = Field(True, description="read RDMA adapters, InfiniBand and RoCE, from /sys")
    ethernet: bool = Field(True, description="read what drivers of network adapters count, as ethtool -S does")
    slurm: bool = Field(True, description="learn names, GPUs and limits of ranks that Slurm started")
    kubernetes: bool = Field(True, description="learn names, GPUs and limits of ranks in pods of Kubernetes")
    dcgm: str = Field(
        "", description="URL of a dcgm-exporter on this host, for machines whose driver the agent may not ask; no names"
    )
    flight_recorder: str = Field(
        "", description="dump files of torch's Flight Recorder to watch for: patterns of paths, several joined by ':'"
    )
    flight_recorder_workers: str = Field(
        "",
        description="torch's worker servers to pull Flight Recorder dumps from: patterns of Unix sockets, or addresses "
        "like 127.0.0.1:25999, several joined by ','",
    )
    nccl_inspector: str = Field(
        "", description="logs of NCCL Inspector to follow: patterns of paths, several joined by ':'"
    )
    nccl_log: str = Field(
        "", description="logs of NCCL and torch to follow: patterns of paths with * and **, several joined by ':'"
    )
    nccl_ras: str = Field(
        "", description="where NCCL's RAS listens on this host, as localhost:28028; asked by the host of a job's rank 0"
    )


def _keeper_dir() -> Path:
    return Path(f"/dev/shm/offbeat-keeper-{os.getuid()}")  # noqa: S108 - shared memory is what it is for; 0700


class KeeperSettings(_Settings):
    """The keeper of snapshots."""

    host: str = Field(default_factory=socket.gethostname, description="name of this host, as in the roster")
    keeper_dir: Path = Field(
        default_factory=_keeper_dir, description="where snapshots lie, on a tmpfs; trainers look for the keeper here"
    )
    keeper_memory_share: float = Field(
        0.5, gt=0, le=0.95, description="share of the memory that snapshots may take; what does not fit is refused"
    )
    keeper_slots: int = Field(
        3, ge=2, le=8, description="slots a rank: 2 where every snapshot is coded, 3 where local ones are more frequent"
    )
    keeper_commit_seconds: float = Field(
        0.2, ge=0, description="pause after a commit before the next; longer codes less often and costs less traffic"
    )
    keeper_rosters: Path | None = Field(
        None, description="directory of rosters (*.json), one a job that runs on several hosts; it is watched"
    )
    keeper_rate_mbit: float = Field(
        0.0, ge=0, description="Mbit/s that coding may send from this host, so that it yields to training; 0: no bound"
    )
    keeper_keep_hours: float = Field(
        72.0, gt=0, description="age at which snapshots of a job without trainers are given up; without it they pile up"
    )


class ServiceSettings(_Settings):
    """The service: API, analyzers and dashboard."""

    listen: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8844, description="port to listen on")
    data_dir: Path = Field(Path("~/.local/share/offbeat"), description="embedded database, segments, secrets")
    database_url: str = Field("", description="PostgreSQL URL; empty: an SQLite file in data_dir")
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Redis URL (redis://, rediss://, unix://): the parts of the service run as processes of their own",
    )
    shards: int = Field(
        8,
        ge=1,
        le=1024,
        description="parts that jobs are spread over with Redis; the same for all, at least one a worker",
    )
    tasks: Literal["threads", "celery"] = Field(
        "threads",
        description="with Redis, who sends alerts and cleans up: threads of the workers, or Celery",
    )
    public_url: str = Field("", description="how people reach the dashboard, for links in alerts")
    segment_hours: float = Field(
        24.0, description="how long raw records and lateness are kept; without it the disk fills"
    )
    history_days: float = Field(
        14.0, description="how long the beat, silent hosts, jobs without incidents, changes of incidents are kept"
    )
    token_pepper: SecretStr = Field(
        SecretStr(""), description="key of the tokens' hashes, the same on all replicas; empty: a file in data_dir"
    )
    unix_socket: Path | None = Field(None, description="also listen on this Unix socket")
    webhook_allow_private: bool | None = Field(
        None, description="may alerts go to loopback and private addresses; unset: only while listening on loopback"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="how logs are written; auto: console on a terminal, else JSON lines"
    )

    @property
    def data(self) -> Path:
        """The data directory, `~` expanded."""
        return self.data_dir.expanduser()

    @property
    def admin_token_file(self) -> Path:
        """Where `offbeat up` leaves the first administrator's token for those who may read the data directory."""
        return self.data / "admin-token"

    @property
    def sql_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data / 'offbeat.db'}"
