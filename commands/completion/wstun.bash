# Completes wstun's command lines in bash. To switch it on, put into ~/.bashrc:
#
#   source <(wstun completion bash)

_wstun() {
	# The words as they were typed, up to the cursor: COMP_WORDS is also split at : and =.
	local line=${COMP_LINE:0:COMP_POINT} words=() n=-1 i word
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $n -lt 0 || $line == [[:space:]]* ]]; then
			line=${line#"${line%%[![:space:]]*}"}
			n=$((n + 1))
			words[n]=
		fi
		[[ $i -lt $COMP_CWORD ]] || word=$line
		words[n]+=$word
		line=${line#"$word"}
	done

	COMPREPLY=()
	local before=${words[n]%"$2"} # bash replaces only the last part of the word
	while IFS= read -r line; do
		case $line in
		:files*@) # bash would complete host names
			while IFS= read -r word; do
				[[ -d $word ]] && word+=/ && compopt -o nospace
				printf -v word %q "$word"
				COMPREPLY+=("@$word")
			done < <(compgen -f -- "${2#@}")
			;;
		:files*) compopt -o default ;;
		:folders*) compopt -o dirnames ;;
		*)
			word=${line%%$'\t'*}
			COMPREPLY+=("${word#"$before"}")
			;;
		esac
	done < <(_wstun_answer "${words[@]}") 2>/dev/null
}

# _wstun_answer PROGRAM WORD... asks wstun, which expands the variables in the words.
_wstun_answer() {
	local rest=$*
	while [[ $rest =~ \$\{?([A-Za-z_][A-Za-z0-9_]*)(.*) ]]; do
		rest=${BASH_REMATCH[2]}
		export "${BASH_REMATCH[1]}" # in this subshell
	done
	"${1/#\~\//$HOME/}" __complete bash "${@:2}" </dev/null 2>/dev/null
}

complete -F _wstun wstun
