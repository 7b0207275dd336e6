"""The models of other people's packages: linted, created, compared and migrated on each database."""
