# PROGRAM and its arguments, as far as they are there; fails while an option is written.
function __hot_restarter_program
    set -l words (commandline -opc) (commandline -ct)
    set -e words[1]
    argparse -s @OPTIONS@ -- $words 2>/dev/null
    or return
    set -q argv[1]
    and not string match -q -- '-*' $argv[1]
    or return
    string join0 -- $argv
    return 0
end

function __hot_restarter_before_program
    not __hot_restarter_program >/dev/null
end

function __hot_restarter_complete_program
    set -l words (__hot_restarter_program | string split0)
    complete -C "$words"
end

complete -c hot-restarter -x -a '(__hot_restarter_complete_program)'
