#compdef wstun
# Completes wstun's command lines in zsh. To switch it on, put into ~/.zshrc, after
# compinit:
#
#   source <(wstun completion zsh)
#
# or save it as _wstun in a directory of $fpath.

_wstun() {
	local line text description prefix
	local -a candidates
	for line in "${(@f)$(_wstun_answer "${(@)words[1,CURRENT-1]}" "$PREFIX")}"; do
		case $line in
		:(files|folders)\ *)
			prefix=${line#* }
			compset -P "${(b)prefix}"
			if [[ $line == :files* ]]; then _files; else _files -/; fi
			;;
		?*)
			text=${line%%$'\t'*}
			description=${${line#$text}#$'\t'}
			candidates+=("${text//:/\\:}${description:+:$description}")
			;;
		esac
	done
	(($#candidates)) && _describe -t candidates candidate candidates
}

# _wstun_answer PROGRAM WORD... asks wstun, which expands the variables in the words.
_wstun_answer() {
	local rest="$*" program=${${(Q)1}/#\~\//$HOME/}
	local -a match mbegin mend
	while [[ $rest =~ '\$\{?([A-Za-z_][A-Za-z0-9_]*)(.*)' ]]; do
		rest=$match[2]
		export $match[1] # in this subshell
	done
	$program __complete zsh "${(@)argv[2,-1]}" </dev/null 2>/dev/null
}

if [[ $funcstack[1] == _wstun ]]; then
	_wstun "$@"
else
	compdef _wstun wstun
fi
