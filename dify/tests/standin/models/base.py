from uuid import uuid4

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


def uuid_column(*, nullable: bool = False, key: bool = False):
    return mapped_column(
        String(36), nullable=nullable, primary_key=key, default=(lambda: str(uuid4())) if key else None
    )


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[str] = uuid_column(key=True)
    name: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = mapped_column(default="")
    __allow_unmapped__ = True
    current_tenant_id = None


class EndUser(Base):
    __tablename__ = "end_users"
    id: Mapped[str] = uuid_column(key=True)
    tenant_id: Mapped[str] = uuid_column()
    type: Mapped[str] = mapped_column(default="service_api")
    session_id: Mapped[str] = mapped_column(default="")
