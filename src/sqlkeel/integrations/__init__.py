"""Adapters for web frameworks; import the one that you use, such as `sqlkeel.integrations.fastapi`."""

__all__: list[str] = []
