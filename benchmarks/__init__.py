"""What sqlkeel costs beside the driver itself and plain SQLAlchemy: ``python -m benchmarks``."""

__all__: list[str] = []
