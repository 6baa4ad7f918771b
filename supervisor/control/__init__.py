"""The control interface: wire, access, server and client. Knows no unit's inner life."""
