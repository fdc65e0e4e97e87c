# fish completion of provision.

function __provision_complete
    set -l words (commandline -opc)
    set -l cur (commandline -ct)
    for line in ($words[1] __complete $words[2..] "$cur" 2>/dev/null)
        switch $line
            case ':files *'
                __fish_complete_suffix (string replace ':files ' '' -- $line)
            case ':files'
                __fish_complete_path "$cur"
            case '*'
                echo $line
        end
    end
end

complete -c provision -f -a '(__provision_complete)'
