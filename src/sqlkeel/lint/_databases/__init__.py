"""What differs between databases when they are read and renamed: one file for each."""

__all__: list[str] = []
