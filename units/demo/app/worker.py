"""Worker: every few seconds it mails confirmations, totals up sales and takes deliveries in.

Law: killed at any instant it loses nothing and the next one goes on. A mail is written first and
marked as sent after that, so at worst one is sent twice, with the same Message-ID.
"""
from __future__ import annotations

import mailbox
import os
import signal
import sys
import time
from email.message import EmailMessage
from email.utils import formatdate

from . import sd, store
from .pages import money

PAUSE_S = 5.0
BATCH = 100


def message(order: store.Order) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Corner Shop <orders@shop.example>"
    mail["To"] = order.email
    mail["Subject"] = f"Your order: {order.quantity} x {order.name}"
    mail["Date"] = formatdate(order.placed_s)
    mail["Message-ID"] = f"<{order.token}@shop.example>"
    mail.set_content(
        f"Thank you for your order {order.token}.\n\n"
        f"  {order.quantity} x {order.name}   {money(order.cents)}\n\n"
        "It leaves our corner tomorrow morning.\n")
    return mail


def send_mails() -> int:
    """Append waiting confirmations to the outbox. Returns how many."""
    waiting = store.unsent(BATCH)
    if waiting:
        outbox = mailbox.mbox(os.path.join(store.data_dir(), "outbox.mbox"))
        for order in waiting:
            outbox.add(message(order))
        outbox.close()  # flushes and syncs
        store.mark_sent(waiting)
    return len(waiting)


def main() -> int:
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # work is never cut in half by a stop
    sent = 0
    sd.notify("READY=1", "STATUS=waiting for orders")
    while True:
        started = time.monotonic()
        mails = send_mails()
        store.total_up()
        deliveries = store.restock()
        sent += mails
        if mails or deliveries:
            print(f"mails={mails} deliveries={len(deliveries)} "
                  f"ms={(time.monotonic() - started) * 1000:.0f}", flush=True)
            sd.notify(f"STATUS={sent} confirmations mailed")
        if signal.sigtimedwait(stops, PAUSE_S):
            sd.notify("STOPPING=1")
            return 0


if __name__ == "__main__":
    sys.exit(main())
