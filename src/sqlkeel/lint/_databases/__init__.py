"""What differs between databases when names are read and changed: one file for each database."""

__all__: list[str] = []
