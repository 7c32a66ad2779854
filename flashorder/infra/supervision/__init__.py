"""Child processes that are kept running: started, told of, started again, stopped in order."""

from flashorder.infra.supervision.role import RoleCommand, RoleFailed, SupervisedRole
from flashorder.infra.supervision.role_log import Console, RoleLog

__all__ = ["Console", "RoleCommand", "RoleFailed", "RoleLog", "SupervisedRole"]
