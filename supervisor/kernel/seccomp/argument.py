"""The kernel's numbers that rules compare arguments with, under the kernel's names, and why.

The same on x86-64 and arm64. Which argument of a call they belong to, and of what width it is, is
the business of the rules.
"""
from __future__ import annotations

from supervisor.kernel.seccomp.rule import Condition, bits, number

# open(2): asm-generic/fcntl.h. __O_TMPFILE without O_DIRECTORY, which differs between the two.
O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE = 0, 1, 2, 3
O_CREAT, O_TRUNC, O_TMPFILE = 0o100, 0o1000, 0o20000000
CREATING = O_CREAT | O_TMPFILE  # flags with which open(2) reads a mode
AT_EMPTY_PATH = 0x1000
MFD_NOEXEC_SEAL = 0x8  # linux/memfd.h

# clone(2): linux/sched.h. The kernel reads only the low 32 bits of clone's flags, of which the
# lowest 8 are the signal; unshare's are flags (CLONE_NEWTIME).
CLONE_THREAD = 0x00000100 | 0x00000800 | 0x00010000  # VM, SIGHAND, THREAD: the kernel wants all
CLONE_NEWTIME = 0x00000080
CLONE_NAMESPACES = (
    0x00020000  # NEWNS
    | 0x02000000  # NEWCGROUP
    | 0x04000000  # NEWUTS
    | 0x08000000  # NEWIPC
    | 0x10000000  # NEWUSER
    | 0x20000000  # NEWPID
    | 0x40000000  # NEWNET
)

# personality(2): asking, Linux, 32-bit uname, 2.6 as version, both. Not ADDR_NO_RANDOMIZE and
# READ_IMPLIES_EXEC, which switch defences off.
PERSONALITIES = (0xFFFFFFFF, 0, 0x8, 0x20000, 0x20008)

# mknod(2): stat.h. Everything but S_IFCHR and S_IFBLK; 0 means a regular file.
_S_IFMT, _S_IFIFO, _S_IFREG, _S_IFSOCK = 0o170000, 0o010000, 0o100000, 0o140000
_S_ISUID_S_ISGID = 0o6000


def no_device(arg: int) -> Condition:
    return bits(arg, _S_IFMT, 0, _S_IFIFO, _S_IFREG, _S_IFSOCK)


def privileged(arg: int) -> Condition:
    return bits(arg, _S_ISUID_S_ISGID, 0o2000, 0o4000, 0o6000)


# Sockets: socket(2), linux/net.h
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE = 0
_SOCK_STREAM, _SOCK_DGRAM = 1, 2
_SOCK_NONBLOCK, _SOCK_CLOEXEC = 0o4000, 0o2000000
SOCK_TYPE_MASK = 0xF
IPPROTO_IP, _IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP = 0, 1, 6, 17
_IPPROTO_DCCP, IPPROTO_IPV6, IPPROTO_ICMPV6, _IPPROTO_SCTP = 33, 41, 58, 132
_IPPROTO_UDPLITE, _IPPROTO_MPTCP = 136, 262
OTHER_PROTOCOLS = (_IPPROTO_DCCP, _IPPROTO_SCTP, _IPPROTO_UDPLITE, _IPPROTO_MPTCP)
INTERNET = number(0, AF_INET, AF_INET6)
# No SOCK_RAW (any packet, any sender), no SOCK_SEQPACKET (SCTP).
PLAIN_TYPES = bits(
    1, 0xFFFFFFFF & ~(_SOCK_NONBLOCK | _SOCK_CLOEXEC), _SOCK_STREAM, _SOCK_DGRAM)
PLAIN_PROTOCOLS = number(
    2, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, _IPPROTO_ICMP, IPPROTO_ICMPV6)
UDP_TYPE = bits(1, SOCK_TYPE_MASK, _SOCK_DGRAM)
MSG_FASTOPEN = 0x20000000

# Options: setsockopt(2), by level
SOL_SOCKET = 1
# SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF and _EBPF: code for the kernel.
SOCKET_PROGRAMS = (26, 50, 51, 52)
# TCP_ULP loads a module by name and turns the socket into another kind: CVE-2023-0461. TLS
# libraries that would use it for kernel TLS go on without.
TCP_ULP = 31
# Packet filter tables: IPT_, IP6T_ and EBT_SO_SET_*, ARPT_SO_SET_*: CVE-2021-22555. They need
# CAP_NET_ADMIN, which a user namespace gives.
IP_TABLES = (64, 65, 96, 97, 128, 129)
# Joining groups and choosing sources (in.h, in6.h): IP_ADD_MEMBERSHIP to IP_MSFILTER and
# MCAST_JOIN_GROUP to MCAST_MSFILTER; sending to a group needs no membership.
_MCAST = (42, 43, 44, 45, 46, 47, 48)
IP_MULTICAST = (35, 36, 37, 38, 39, 40, 41, *_MCAST)
IPV6_MULTICAST = (20, 21, 27, 28, *_MCAST)  # 20, 21 (27, 28): join, leave (anycast)

# fcntl(2): fcntl.h, linux/fcntl.h
FCNTL_PLAIN = (
    0, 1, 2, 3, 4,  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL
    9,  # F_GETOWN
    1027, 1028, 1030,  # F_DUPFD_QUERY, F_CREATED_QUERY, F_DUPFD_CLOEXEC
    1031, 1032,  # F_SETPIPE_SZ, F_GETPIPE_SZ
    1033, 1034,  # F_ADD_SEALS, F_GET_SEALS
    1035, 1036, 1037, 1038,  # F_GET_RW_HINT to F_SET_FILE_RW_HINT
)
FCNTL_LOCKS = (
    5, 6, 7,  # F_GETLK, F_SETLK, F_SETLKW
    36, 37, 38,  # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
    1024, 1025,  # F_SETLEASE, F_GETLEASE
)
FCNTL_OWNER = (8, 10, 11, 15, 16)  # F_SETOWN, F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX

# ioctl(2): asm-generic/ioctls.h, linux/sockios.h
IOCTL_NEVER = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD
IOCTL_PLAIN = (
    0x541B, 0x5411,  # FIONREAD, TIOCOUTQ (SIOCOUTQ)
    0x5421, 0x5452, 0x5450, 0x5451,  # FIONBIO, FIOASYNC, FIONCLEX, FIOCLEX
    0x5401, 0x802C542A, 0x5413,  # TCGETS, TCGETS2 (isatty), TIOCGWINSZ
)
IOCTL_TTY = (
    0x5402, 0x5403, 0x5404,  # TCSETS, TCSETSW, TCSETSF
    0x402C542B, 0x402C542C, 0x402C542D,  # the same with speeds: TCSETS2, TCSETSW2, TCSETSF2
    0x5409, 0x5425, 0x540A, 0x540B,  # TCSBRK, TCSBRKP, TCXONC, TCFLSH
    0x5427, 0x5428,  # TIOCSBRK, TIOCCBRK
    0x540E, 0x5422,  # TIOCSCTTY, TIOCNOTTY
    0x540F, 0x5410, 0x5429,  # TIOCGPGRP, TIOCSPGRP, TIOCGSID
    0x5414, 0x5420,  # TIOCSWINSZ, TIOCPKT
    0x80045430, 0x40045431, 0x80045439, 0x5441,  # TIOCGPTN, TIOCSPTLCK, TIOCGPTLCK, TIOCGPTPEER
)
IOCTL_INET = (0x8905, 0x8933, 0x8910)  # SIOCATMARK; SIOCGIFINDEX, SIOCGIFNAME (fe80::1%eth0)
IOCTL_INTERFACE = (
    0x8910, 0x8912, 0x8913, 0x8915,  # SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFADDR
    0x8917, 0x8919, 0x891B, 0x891D,  # ...DSTADDR, BRDADDR, NETMASK, METRIC
    0x8921, 0x8927, 0x8933, 0x8942,  # ...MTU, HWADDR, INDEX, TXQLEN
)

# prctl(2): linux/prctl.h. Not: PR_SET_MM (rewrites what /proc shows of it) and
# what only root may.
PRCTL_SELF = (
    1, 2,  # PR_SET_PDEATHSIG, PR_GET_PDEATHSIG
    3, 4,  # PR_GET_DUMPABLE, PR_SET_DUMPABLE
    7, 13,  # PR_GET_KEEPCAPS, PR_GET_TIMING
    15, 16,  # PR_SET_NAME, PR_GET_NAME
    21, 23, 27,  # PR_GET_SECCOMP, PR_CAPBSET_READ, PR_GET_SECUREBITS
    29, 30,  # PR_SET_TIMERSLACK, PR_GET_TIMERSLACK
    37, 38, 39, 40,  # PR_GET_CHILD_SUBREAPER, PR_SET/GET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS
    41, 42,  # PR_SET_THP_DISABLE, PR_GET_THP_DISABLE
    50, 51, 52, 53,  # PR_SVE_SET_VL, PR_SVE_GET_VL, PR_GET/SET_SPECULATION_CTRL
    54, 55, 56,  # PR_PAC_RESET_KEYS, PR_SET/GET_TAGGED_ADDR_CTRL
    63, 64,  # PR_SME_SET_VL, PR_SME_GET_VL
    65, 66, 67, 68,  # PR_SET/GET_MDWE, PR_SET/GET_MEMORY_MERGE
    74, 75, 76,  # PR_GET/SET/LOCK_SHADOW_STACK_STATUS
    0x53564D41, 0x41555856,  # PR_SET_VMA (names of mappings), PR_GET_AUXV
)
PRCTL_PROC = (36,)  # PR_SET_CHILD_SUBREAPER
PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET = 47, 1
PRCTL_ID = (8, 24, 28, 47)  # PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_CAP_AMBIENT
PR_SET_SECCOMP = 22
PR_SET_PTRACER = 0x59616D61
