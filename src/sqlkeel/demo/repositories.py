"""The queries of this service: one repository for each model that has its own queries."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

from sqlalchemy import func, select

from sqlkeel.errors import NotFound
from sqlkeel.repository import Repository

from .models import Classifier, PaymentAccount, PaymentTransfer, Person, Project, Release, ReleaseFile

__all__ = [
    "ClassifierRepository",
    "PaymentAccountRepository",
    "PaymentTransferRepository",
    "PersonRepository",
    "ProjectRepository",
    "ReleaseFileRepository",
    "ReleaseRepository",
]


class ProjectRepository(Repository[Project]):
    """Projects."""

    async def ids(self) -> dict[str, int]:
        """Return the key of every project by its name."""
        found = await self.session.execute(select(Project.name, Project.id))
        return {row.name: row.id for row in found}


class ReleaseRepository(Repository[Release]):
    """Releases."""

    async def ids(self) -> dict[tuple[int, str], int]:
        """Return the key of every release by its project and number."""
        found = await self.session.execute(select(Release.project_id, Release.number, Release.id))
        return {(row.project_id, row.number): row.id for row in found}

    async def measure(self) -> int:
        """Store the size of each release whose files have changed it, and return how many these are."""
        total = func.sum(ReleaseFile.size)
        measured = (
            select(Release.id, Release.size, total)
            .join(Release.files)
            .group_by(Release.id, Release.size)
            .having(Release.size.is_distinct_from(total))
        )
        rows = [{"id": key, "size": int(size or 0)} for key, _, size in await self.session.execute(measured)]
        return await self.update_many(rows)


class ReleaseFileRepository(Repository[ReleaseFile]):
    """Installed files."""

    async def get_by_path(self, release: Release, path: str) -> ReleaseFile:
        """Return a file of a release.

        Raises:
            NotFound: When the release has no such file.
        """
        found = await self.one_or_none(ReleaseFile.release_id == release.id, ReleaseFile.path == path)
        if found is None:
            raise NotFound("ReleaseFile", path)
        return found


class PersonRepository(Repository[Person]):
    """People."""

    async def ids(self) -> dict[tuple[str, str], int]:
        """Return the key of every person by name and address."""
        found = await self.session.execute(select(Person.name, Person.email, Person.id))
        return {(row.name, row.email): row.id for row in found}


class ClassifierRepository(Repository[Classifier]):
    """Labels."""

    async def ids(self) -> dict[str, int]:
        """Return the key of every label by its name."""
        found = await self.session.execute(select(Classifier.name, Classifier.id))
        return {row.name: row.id for row in found}


class PaymentAccountRepository(Repository[PaymentAccount]):
    """Accounts."""

    async def lock(self, public_ids: Iterable[UUID]) -> dict[UUID, PaymentAccount]:
        """Return the current accounts, and lock them until the transaction ends.

        One statement locks all of them in the order of the key, so that two transfers in opposite directions wait for
        each other and do not deadlock.
        """
        statement = (
            select(PaymentAccount)
            .where(PaymentAccount.public_id.in_(set(public_ids)))
            .order_by(PaymentAccount.id)
            .with_for_update()
        )
        return {account.public_id: account for account in await self.session.scalars(statement)}

    async def total(self) -> Decimal:
        """Return all the money there is."""
        return await self.session.scalar(select(func.sum(PaymentAccount.balance))) or Decimal(0)


class PaymentTransferRepository(Repository[PaymentTransfer]):
    """Transfers."""
