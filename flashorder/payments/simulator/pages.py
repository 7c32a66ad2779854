"""The pages that a buyer sees at the simulated provider."""

from __future__ import annotations

from html import escape

from flashorder.kernel.money import Money
from flashorder.payments.simulator.books import PaymentEntry

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 4rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }}
h1 {{ font-size: 1.25rem }}
.amount {{ font-size: 2rem; font-variant-numeric: tabular-nums }}
button {{ font: inherit; padding: .6rem 1.4rem; margin-right: .5rem; border-radius: .4rem;
         border: 1px solid #1a1a1a; background: #fff; color: inherit; cursor: pointer }}
button.primary {{ background: #0b5; border-color: #0b5; color: #fff }}
button:focus-visible {{ outline: 3px solid #07f; outline-offset: 2px }}
small {{ color: #555 }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
<p><small>A payment simulator: no money moves here.</small></p>
</main>
</body>
</html>
"""

_SENTENCES = {
    "authorized": "You have approved this payment.",
    "captured": "You have paid. Thank you.",
    "declined": "This payment was declined. Nothing was taken.",
    "voided": "This payment was given up by the shop. Nothing was taken.",
}


def payment_page(entry: PaymentEntry) -> str:
    """What the buyer is asked, or what has become of it."""
    amount = f'<p class="amount">{escape(str(Money(entry.amount, entry.currency)))}</p>'
    if entry.status == "requires_action":
        form = (
            f'<form method="post" action="/pay/{escape(entry.id)}/decision">'
            '<button class="primary" name="decision" value="approve">Approve</button>'
            '<button name="decision" value="decline">Decline</button>'
            "</form>"
        )
        return _PAGE.format(title="Approve this payment?", content=amount + form)
    back = ""
    if entry.return_url is not None:
        back = f'<p><a href="{escape(entry.return_url)}">Back to the shop</a></p>'
    sentence = f"<p>{_SENTENCES[entry.status]}</p>"
    return _PAGE.format(title="Payment", content=amount + sentence + back)


def refusal_page(detail: str) -> str:
    """Something could not be done."""
    return _PAGE.format(title="Not possible", content=f"<p>{escape(detail)}.</p>")
