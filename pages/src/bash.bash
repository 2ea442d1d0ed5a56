# Completion of hot-restarter in bash: options, their values, and PROGRAM with what completes its
# own arguments.

# Each of these completes "$value".
__hot_restarter_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$value")
}

__hot_restarter_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$value")
}

__hot_restarter_commands() {
    if [[ $value == */* ]]; then
        __hot_restarter_files
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$value" | sort -u)
    fi
}

# Completes the words from number $1 on as a command line of their own.
__hot_restarter_command_line() {
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$1"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    else
        __hot_restarter_files
    fi
}

_hot_restarter() {
    local options="@OPTIONS@"
    local word glued='' option='' dashes='' value i
    # bash divides words at = and : as well; here they are whole again, each with its number.
    local words=() numbers=()
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#words[@]})) && [[ $glued || $word == [=:]* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
            numbers+=("$i")
        fi
        if [[ $word == *[=:] ]]; then glued=yes; else glued=''; fi
    done
    local last=$((${#words[@]} - 1))
    value=${words[last]}
    COMPREPLY=()
    for ((i = 0; i < last; i++)); do
        case ${words[i]} in
        --)
            dashes=yes
            ((++i))
            break
            ;;
        @WITH_VALUE@)
            option=${words[i]}
            ((++i))
            ;;
        -*) ;;
        *) break ;;
        esac
    done
    if ((i < last)); then
        __hot_restarter_command_line "${numbers[i]}"
        return
    fi
    if ((i == last)); then
        option=PROGRAM
        if [[ ! $dashes && $value == --*=* ]]; then
            option=${value%%=*}
            value=${value#*=}
        elif [[ ! $dashes && $value == -* ]]; then
            __hot_restarter_words "$options"
            return
        fi
    fi
    case $option in
    PROGRAM) __hot_restarter_commands ;;
    @VALUES@) ;;
    esac
}

complete -F _hot_restarter hot-restarter
