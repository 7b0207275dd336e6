"""The models of all of Keystone's drivers for SQL."""

from keystone.application_credential.backends import sql as application_credential
from keystone.assignment.backends import sql as assignment
from keystone.assignment.role_backends import sql_model as role
from keystone.catalog.backends import sql as catalog
from keystone.common.sql import core
from keystone.credential.backends import sql as credential
from keystone.endpoint_policy.backends import sql as endpoint_policy
from keystone.federation.backends import sql as federation
from keystone.identity.backends import sql_model as identity
from keystone.identity.mapping_backends import sql as mapping
from keystone.limit.backends import sql as limit
from keystone.oauth1.backends import sql as oauth1
from keystone.policy.backends import sql as policy
from keystone.resource.backends import sql_model as resource
from keystone.resource.config_backends import sql as config
from keystone.revoke.backends import sql as revoke
from keystone.trust.backends import sql as trust

MODULES = (
    *(application_credential, assignment, role, catalog, credential, endpoint_policy, federation, identity, mapping),
    *(limit, oauth1, policy, resource, config, revoke, trust),
)
Base = core.ModelBase
