"""``POST /v1/admin/sales/{sale_id}/rebuild``."""

from __future__ import annotations

import msgspec

from flashorder.infra.http.endpoint import Call, Endpoint, Reply, Role
from flashorder.rebuilding.service import Rebuilding
from flashorder.sales.admin_views import SaleView, sale_view


class RebuildBody(msgspec.Struct, forbid_unknown_fields=True):
    """``force`` rebuilds a sale that the front still has, but has wrong."""

    force: bool = False


def endpoints(rebuilding: Rebuilding) -> list[Endpoint]:
    """The call that brings a lost sale back."""

    async def rebuild(call: Call) -> Reply:
        rebuilt = await rebuilding.rebuild(call.path_id("sale_id"), force=call.body.force)
        return Reply(200, sale_view(rebuilt.sale, at_front=True))

    return [
        Endpoint(
            "POST",
            "/v1/admin/sales/{sale_id}/rebuild",
            rebuild,
            "Fill the front anew with a sale that it has lost",
            "sales",
            roles=frozenset({Role.OPERATOR}),
            body=RebuildBody,
            replies={200: SaleView},
            problems={
                404: ("sale_not_found",),
                409: (
                    "invalid_state",
                    "sale_at_front",
                    "intents_not_applied",
                    "rebuild_overtaken",
                    "rebuild_incomplete",
                ),
                503: ("store_unavailable",),
            },
            description=(
                "Purchases are refused until it is done, then the sale is in the state that it "
                "had. Cut off, it is carried on by the same call; `flashorder rebuild` does the "
                "same and tells how far it is, which suits sales of millions of orders."
            ),
        )
    ]
