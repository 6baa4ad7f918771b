"""The machine's network: what network.toml says, compared with what the kernel has.

    netlink     a socket to the kernel, with pyroute2's message classes
    seen        a snapshot of links, addresses and routes
    udev        whether names may still change
    chosen      which interface each table of the file means
    plan        the difference, as rows: pure
    act         carries rows out
    made        what an earlier version of the file had made, kept in the runtime directory
    resolver    /etc/resolv.conf
    clients     DHCP clients: which is there, and how it is called
    lease       what a DHCP client found, applied

Law: no module here decides twice. The plan is made from three values (file, snapshot, record), is
carried out and made again, until nothing is left to do; so a second call changes nothing.
"""
