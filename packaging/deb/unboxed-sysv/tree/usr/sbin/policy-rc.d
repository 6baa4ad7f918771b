#!/bin/sh
# What maintainer scripts may do to services: asked by invoke-rc.d and deb-systemd-invoke before they
# do anything, as `policy-rc.d [--quiet] NAME ACTION [RUNLEVEL]`. 101: no; 104: go on.
#
# Law: on a machine of ours no init script starts or ends a daemon, which nobody would supervise then.
# What was asked for is done to the unit of that name; where there is none, one line says what to do.
# Whatever comes of it, no installation fails: a unit that does not start shows in `unboxed status`.
# The administrator's own policy-rc.d, which this one moved aside, is asked first: what it forbids is not
# done to the unit either.
#
# There is no quiet "no": invoke-rc.d says "denied execution of start" to each 101. So what was done
# instead is told before.
LOCAL=/usr/sbin/policy-rc.d.local
quiet=
for word; do [ "$word" != --quiet ] || quiet=yes; done
say() { [ "$quiet" ] || echo "policy-rc.d: $*" >&2; }

if [ -x $LOCAL ]; then
    fallback=$($LOCAL "$@")
    theirs=$?
    case $theirs in
        0 | 1 | 104 | 105) ;; # allowed, or of no opinion
        101 | 106) # another action instead would be an init script's
            say "$LOCAL forbids it: nothing was done${fallback:+, and neither was \"$fallback\"}"
            exit 101
            ;;
        *) exit $theirs ;;
    esac
fi
[ ! -d /run/systemd/system ] || exit 104 # another boot of this machine, with systemd
[ -S /run/unboxed/control ] || exit 101 # a tree that nobody booted: nothing is started in it

while [ "${1#-}" != "$1" ]; do shift; done
name=${1%.service} action=${2%% *}
name=${name%.sh}
action=${action#(} # in parentheses: out of the runlevels of its init script, which mean nothing here
action=${action%)}

unit() {
    if unboxed "$1" "$name" >&2; then
        say "$1 of the unit $name: done. A \"denied\" after this is about its init script, which is not run"
    else
        say "cannot $1 $name; it stays as it is: unboxed status $name"
    fi
}

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
        [ "$action" = stop ] || say "there is no unit $name, and init scripts are not run: nothing was done." \
            "Only if $name is a daemon that you want to run: write /etc/unboxed/units/$name.toml," \
            "then \`unboxed reload\` and \`unboxed start $name\`"
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
