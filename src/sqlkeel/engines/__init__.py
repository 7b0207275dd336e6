"""What differs between the databases below the ORM: connecting, beginning, limits and faults; one file each."""

__all__: list[str] = []
