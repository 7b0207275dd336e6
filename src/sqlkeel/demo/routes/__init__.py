"""What the service answers, one file per subject."""

__all__: list[str] = []
