"""`unboxed completion SHELL`: a small script for the shell, which asks for candidates here.

Law: what can be completed is known in one place, here, from the table and the running supervisor;
the shells only pass words in and candidates out. A completion never prints an error: without an
answer from the supervisor there are simply no unit names.
"""
from __future__ import annotations

from supervisor.cli.call import BAD_USAGE, DONE, Call, Failure
from supervisor.cli.table import BY_NAME, COMMANDS, RUNTIME_DIR, Command, Option

_BASH = """\
_unboxed() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(unboxed completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${COMPREPLY[0]-} == @* ]]; then
        compopt -o filenames 2>/dev/null
        local kind=${COMPREPLY[0]#@} current=${COMP_WORDS[COMP_CWORD]}
        COMPREPLY=()
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -A "$kind" -- "$current")
    fi
}
complete -F _unboxed unboxed
"""
_ZSH = """\
#compdef unboxed
_unboxed() {
    local -a found
    found=("${(@f)$(unboxed completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case "${found[1]}" in
        @file|@directory) _files ;;
        @command) _command_names -e ;;
        *) compadd -- "${found[@]}" ;;
    esac
}
compdef _unboxed unboxed
"""
_FISH = """\
function __unboxed_words
    set -l words (commandline -opc) (commandline -ct)
    set -l found (unboxed completion words -- $words[2..-1] 2>/dev/null)
    switch "$found[1]"
        case @file @directory
            __fish_complete_path (commandline -ct)
        case @command
            __fish_complete_command
        case '*'
            printf '%s\\n' $found
    end
end
complete -c unboxed -f -a '(__unboxed_words)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run(call: Call) -> int:
    shell = call.words[0]
    if shell == "words":
        print("\n".join(candidates(call, call.words[1:])))
        return DONE
    if shell not in SCRIPTS or len(call.words) > 1:
        raise Failure(
            f"cannot complete for {shell}: unknown shell; there is bash, zsh and fish", BAD_USAGE)
    print(SCRIPTS[shell], end="")
    return DONE


def candidates(call: Call, words: tuple[str, ...]) -> list[str]:
    """What the last of `words` may become. "@file", "@directory", "@command": the shell knows."""
    current = words[-1] if words else ""
    command: Command | None = None
    options: list[Option] = [RUNTIME_DIR]
    pending: Option | None = None  # the option whose value comes next
    plain = 0
    for word in words[:-1]:
        if pending:
            if pending is RUNTIME_DIR:
                call.options["runtime-dir"] = word
            pending = None
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            option = next((one for one in options if name in one.names), None)
            if option is RUNTIME_DIR and equals:
                call.options["runtime-dir"] = value
            takes = option and option.value and not option.bare and not equals
            pending = option if takes else None
        elif command is None:
            command = BY_NAME.get(word)
            if command is None:
                return []
            options.extend(command.options)
        else:
            plain += 1
    if pending:
        return _values(pending, current)
    if current.startswith("-") and not (command and command.whole and plain):
        found = [*(name for option in options for name in option.names), "--help"]
        return [name for name in found if name.startswith(current)]
    if command is None:
        return [one.name for one in COMMANDS if one.name.startswith(current)]
    return _words(call, command, current, plain)


def _values(option: Option, current: str) -> list[str]:
    if option.value == "DIR":
        return ["@directory"]
    if option.key == "stream":
        return [name for name in ("output", "error", "lost") if name.startswith(current)]
    if option.value == "LEVEL":
        from supervisor.model.structured import NAMES

        return [name for name in NAMES if name.startswith(current)]
    if option.value == "SIGNAL":
        from supervisor.model.values import SIGNALS

        return [name for name in SIGNALS if name.startswith(current.upper())]
    return []


def _words(call: Call, command: Command, current: str, plain: int) -> list[str]:
    if not command.words or (plain and not command.words.rstrip("]").endswith("...")):
        return []
    if command.complete == "path":
        return ["@file"]
    if command.complete == "command":
        return ["@command"]
    if command.complete == "shell":
        return [shell for shell in SCRIPTS if shell.startswith(current)]
    if command.complete != "unit":
        return []
    if command.name == "set" and plain:
        return [name for name in _limit_keys() if name.startswith(current)]
    return [name for name in _unit_names(call) if name.startswith(current)]


def _limit_keys() -> list[str]:
    from supervisor.config.limits import LIMITS

    return [f"limits.{key.name}=" for key in LIMITS.keys]


def _unit_names(call: Call) -> list[str]:
    """Units, and the instances of those that have several."""
    from supervisor.cli.server import Server

    try:
        with Server(call, "complete", timeout_s=1.0) as server:
            statuses = server.call("Status", {})["instances"]
    except Failure:
        return []
    names = {status["unit"] for status in statuses} | {status["key"] for status in statuses}
    return sorted(names)
