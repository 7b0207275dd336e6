"""Web frameworks; import the one you use, `sqlkeel.integrations.fastapi` for example."""

__all__: list[str] = []
