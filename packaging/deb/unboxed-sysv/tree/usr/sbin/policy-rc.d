#!/bin/sh
# What maintainer scripts may do to services: asked by invoke-rc.d and deb-systemd-invoke before they
# do anything, as `policy-rc.d [--quiet] NAME ACTION [RUNLEVEL]`. 101: no; 104: go on.
#
# Law: on a machine of ours no init script starts or ends a daemon, which nobody would supervise then.
# What was asked for is done to the unit of that name; where there is none, one line says what to do.
# Whatever comes of it, no installation fails: a unit that does not start shows in `unboxed status`.
[ ! -d /run/systemd/system ] || exit 104 # another boot of this machine, with systemd
[ -S /run/unboxed/control ] || exit 101 # a tree that nobody booted: nothing is started in it

while [ "${1#-}" != "$1" ]; do shift; done
name=${1%.service} action=${2%% *}
name=${name%.sh}
action=${action#(} # in parentheses: out of the runlevels of its init script, which mean nothing here
action=${action%)}

say() { echo "policy-rc.d: $*" >&2; }
unit() { unboxed "$1" "$name" >&2 || say "cannot $1 $name; it stays as it is: unboxed status $name"; }

case $name in
    # What these do is done by units of other names, at boot.
    console-setup | hwclock | keyboard-setup | kmod | networking | procps | udev | urandom) exit 101 ;;
esac
[ "$action" != status ] || exit 104 # the init script asks us: see init-functions.d

status=$(unboxed status --json "$name" 2>/dev/null)
up=$?
case $status in
    *'"autostart":"true"'*) wanted=yes ;;
    *'"autostart"'*) wanted=no ;;
    *)
        [ "$action" = stop ] || say "there is no unit $name, so that nothing was started: write" \
            "/etc/unboxed/units/$name.toml, then \`unboxed reload\` and \`unboxed start $name\`"
        exit 101
        ;;
esac
case $action in
    stop | force-stop) unit stop ;;
    start) if [ $wanted = yes ]; then unit start; else say "unit $name has autostart = false"; fi ;;
    reload | force-reload | rotate) [ $up != 0 ] || unboxed reload "$name" 2>/dev/null || unit restart ;;
    try-restart) [ $up != 0 ] || unit restart ;;
    *) # restart, upgrade, and whatever else an init script of a new version is asked for
        if [ $up = 0 ]; then unit restart; elif [ $wanted = yes ]; then unit start; fi
        ;;
esac
exit 101
