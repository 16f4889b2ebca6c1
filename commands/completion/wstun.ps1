# Completes wstun's command lines in PowerShell. To switch it on, put into $PROFILE:
#
#   wstun completion powershell | Out-String | Invoke-Expression

Register-ArgumentCompleter -Native -CommandName 'wstun', 'wstun.exe' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    # Each word gets a leading dot: some versions of PowerShell leave out empty words.
    $words = @()
    foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {
        if ($element.Extent.EndOffset -ge $cursorPosition) { break }
        $isText = $element -is [System.Management.Automation.Language.StringConstantExpressionAst]
        $words += '.' + $(if ($isText) { $element.Value } else { $element.Extent.Text })
    }
    $words += '.' + ($wordToComplete -replace '^[''"]', '')

    $program = $commandAst.GetCommandName()
    $results = @()
    foreach ($line in & $program __complete powershell @words 2>$null) {
        if ($line -match '^:(files|folders) (.*)$') {
            $wanted, $prefix = $Matches[1], $Matches[2]
            $path = $wordToComplete.Substring([Math]::Min($prefix.Length, $wordToComplete.Length))
            foreach ($file in [System.Management.Automation.CompletionCompleters]::CompleteFilename($path)) {
                if ($wanted -eq 'files' -or $file.ResultType -eq 'ProviderContainer') {
                    $results += [System.Management.Automation.CompletionResult]::new(
                        $prefix + $file.CompletionText, $file.ListItemText, $file.ResultType, $file.ToolTip)
                }
            }
            continue
        }
        $text, $description = $line -split "`t", 2
        if (-not $description) { $description = $text }
        $results += [System.Management.Automation.CompletionResult]::new(
            $text, $text, 'ParameterValue', $description)
    }
    # Without a result PowerShell would complete files: return an empty one.
    if ($results) { $results } else { '' }
}
