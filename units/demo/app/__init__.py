"""A corner shop: a small web monolith on SQLite, its worker and two agents.

Ordinary programs of the standard library, none of which knows what supervises it: they speak
sd_notify and LISTEN_FDS, as they would under systemd. `SHOP_DATA` names the directory that they
share.
"""
