"""The models that Flask-Security makes from its mixins, as its documentation has it."""

from flask_security.models import fsqla_v3
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
fsqla_v3.FsModels.set_db_info(db)


class Role(db.Model, fsqla_v3.FsRoleMixin):
    """A role."""


class User(db.Model, fsqla_v3.FsUserMixin):
    """A user."""


class WebAuthn(db.Model, fsqla_v3.FsWebAuthnMixin):
    """A key of a user."""


Base = db.Model
