"""What a service is and what may be set from outside, with defaults for a run on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

Model = Literal["sync", "async", "streaming"]


@dataclass(frozen=True, slots=True)
class Service:
    """A service's identity: its name, its communication model and the port it listens on unless told otherwise."""

    name: str
    model: Model
    port: int


class Settings(BaseSettings):
    """The environment of a service; every field has the variable of its alias.

    Times are seconds. A value that is out of range raises pydantic's `ValidationError`, which names the variable.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    host: str = Field("127.0.0.1", alias="LAB_HOST")
    port: int | None = Field(None, alias="LAB_PORT", ge=1, le=65535)
    metrics_port: int | None = Field(None, alias="LAB_METRICS_PORT", ge=1, le=65535)
    # Which of several processes of one service this is; all of them keep what they know in the same database.
    instance: int = Field(1, alias="LAB_INSTANCE", ge=1, le=99)
    data: Path = Field(Path(".lab/data"), alias="LAB_DATA")
    database_url: str | None = Field(None, alias="DATABASE_URL")
    admin_token: str | None = Field(None, alias="LAB_ADMIN_TOKEN")
    stock: int = Field(100, alias="LAB_STOCK", ge=0, le=1_000_000_000)
    log_format: Literal["json", "console"] = Field("json", alias="LAB_LOG_FORMAT")
    traces: Literal["on", "off"] = Field("on", alias="LAB_TRACES")

    # One limit for "no answer" in all three models: the reserve call, the publisher confirm, the delivery report.
    confirm_timeout: float = Field(5.0, alias="LAB_CONFIRM_TIMEOUT", gt=0, le=60)

    sync_inventory_url: str = Field("http://127.0.0.1:8001", alias="SYNC_INVENTORY_URL")
    sync_notification_url: str = Field("http://127.0.0.1:8002", alias="SYNC_NOTIFICATION_URL")
    sync_timeout: float = Field(5.0, alias="SYNC_TIMEOUT_SECONDS", gt=0, le=60)

    rabbitmq_url: str = Field("amqp://guest:guest@127.0.0.1:5672/", alias="RABBITMQ_URL")
    amqp_prefetch: int = Field(500, alias="AMQP_PREFETCH", ge=1, le=65535)
    amqp_batch: int = Field(100, alias="AMQP_BATCH", ge=1, le=10_000)
    amqp_window: int = Field(1000, alias="AMQP_CONFIRM_WINDOW", ge=1, le=65535)

    kafka_bootstrap: str = Field("127.0.0.1:29092", alias="KAFKA_BOOTSTRAP_SERVERS")
    kafka_batch: int = Field(500, alias="KAFKA_BATCH", ge=1, le=10_000)

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, url: str | None) -> str | None:
        try:
            return url if url is None else make_url(url).render_as_string(hide_password=False)
        except ArgumentError as error:
            raise ValueError("not an SQLAlchemy URL such as postgresql+psycopg://user:password@host/name") from error

    @field_validator("rabbitmq_url")
    @classmethod
    def _names_a_broker(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname or not parts.path:
            raise ValueError("not an AMQP URL such as amqp://user:password@host:5672/, which ends in its virtual host")
        return url

    def database_of(self, service: Service) -> str:
        """The SQLAlchemy URL of a service's own database."""
        return self.database_url or f"sqlite:///{self.data / service.name}.db"
