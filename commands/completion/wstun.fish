# Completes wstun's command lines in fish. To switch it on, put into
# ~/.config/fish/config.fish:
#
#   wstun completion fish | source

function __wstun_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct | string replace -r '^["\']' '') # an unclosed quote
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    command -q -- $program; or return
    for line in ($program __complete fish $words[2..] "$word" </dev/null 2>/dev/null)
        if set -l paths (string match -r '^:(files|folders) (.*)' -- $line)
            set -l rest (string sub -s (math 1 + (string length -- "$paths[3]")) -- "$word")
            if test $paths[2] = files
                string replace -r '^' -- "$paths[3]" (__fish_complete_path "$rest")
            else
                string replace -r '^' -- "$paths[3]" (__fish_complete_directories "$rest" '')
            end
        else
            printf '%s\n' $line
        end
    end
end

complete -c wstun -e
complete -c wstun -f -k -a '(__wstun_complete)'
