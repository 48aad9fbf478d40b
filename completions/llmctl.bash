_llmctl_completion() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} found
    found=($(_LLMCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="$line" "$1" 2>/dev/null))
    found=("${found[@]%%$'\t'*}")
    local word=${line##*[[:space:]]}
    if [[ $COMP_WORDBREAKS == *:* ]]; then
        found=("${found[@]#"${word%"${word##*:}"}"}")
    fi
    COMPREPLY=("${found[@]}")
}

complete -o default -F _llmctl_completion llmctl
