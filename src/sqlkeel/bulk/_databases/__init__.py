"""How each database writes many rows; one file per database."""

__all__: list[str] = []
