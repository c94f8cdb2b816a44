# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_eximgrey_global_optspecs
    string join \n config= color= h/help V/version
end

function __fish_eximgrey_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_eximgrey_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_eximgrey_using_subcommand
    set -l cmd (__fish_eximgrey_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c eximgrey -n "__fish_eximgrey_needs_command" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_needs_command" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_needs_command" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -s V -l version -d 'Print version'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "status" -d 'Show the state of the store: size, counts, recent decisions'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "list" -d 'List what waits, what is known, who has proved himself or is trapped'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "metrics" -d 'Prints figures for Prometheus'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "watch" -d 'Show decisions as they happen'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "explain" -d 'Say what Exim would be answered now, and why'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "log" -d 'Tells what became of a mail, in words'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "check-config" -d 'Check the configuration file, as Exim would read it, and show what is in force'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "release" -d 'Let the next retry of a deferred mail pass'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "trap" -d 'Trap a client\'s network for a while'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "forget" -d 'Make a client, or mail that has passed, wait again'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "whitelist" -d 'Keep the list of clients, domains, senders and recipients that are never greylisted'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "import" -d 'Takes in what another greylister has learnt, or another eximgrey has exported. What is known already loses nothing by it, and the same files may be read again'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "export" -d 'Writes all that the store holds, a JSON object a line: complete, so that it can be read into an empty store as if nothing had happened'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "backup" -d 'Copies what is known to a new directory, while Exim goes on'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "restore" -d 'Puts a backup in the place of what is known, in one step, while Exim goes on'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "purge" -d 'Delete what has expired, now'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "normalize" -d 'Show the sender key of addresses'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "report" -d 'Says what greylisting has done: what came back, what never did, what passed at once and why, who sends'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "replay" -d 'Says what greylisting would have done to the mail of Exim\'s main log, by this configuration'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "doctor" -d 'Check the installation: Exim, its configuration, the store'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "exim" -d 'Switch greylisting on and off in Exim\'s configuration'
complete -c eximgrey -n "__fish_eximgrey_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand status" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand status" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand status" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l sort -d 'In what order [default on a terminal: newest; else that of the store]' -r -f -a "newest\t'By time, the newest first'
oldest\t'By time, the oldest first'
client\t'By the client\'s network or domain'
sender\t'By the sender\'s domain, then its mailbox'
recipient\t'By the recipient\'s domain, then its mailbox'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l limit -d 'Only the first NUMBER of that order [default on a terminal: 1000]' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l since -d 'Only what was seen or made within that time, such as 2h' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l all -d 'With auto: also clients that have not proved themselves yet'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l json -d 'Print JSON, one object a line'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -l no-pager -d 'On a terminal, too, print without a pager'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand metrics" -l textfile -d 'Write to FILE, for the textfile collector of node-exporter: beside it, then renamed, so that nobody reads half of it. Its name has to end in .prom' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand metrics" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand metrics" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand metrics" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l interval -d 'How often decisions are counted [default: 1s]' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l count -d 'End after NUMBER intervals' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l all -d 'Also mail that passes at once'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -l json -d 'Print JSON, one object a line'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand explain" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand explain" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand explain" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand explain" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l file -d 'Read these files, plain, .gz or .xz, or with - the standard input [default: Exim\'s main log]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l since -d 'Only what happened within that time, such as 7d' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l utc -d 'Times in the log that have no zone are UTC [default: the local time of this machine]'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -l json -d 'Print JSON, one object a line for each client, sender and recipient'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand log" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand check-config" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand check-config" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand check-config" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand release" -l client -d 'The client\'s address' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand release" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand release" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand trap" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand trap" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand trap" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand forget" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand forget" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -f -a "add" -d 'Add an entry, or replace it'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -f -a "remove" -d 'Remove an entry'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -f -a "list" -d 'List entries: KIND ENTRY SINCE UNTIL FLAGS COMMENT'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -f -a "import" -d 'Read postgrey\'s whitelist files'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and not __fish_seen_subcommand_from add remove list import help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -l comment -d 'Why, for those who read the list later' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -l for -d 'Drop the entry after that time, such as 30d [default: never]' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -l unauthenticated -d 'With sender: also where neither SPF nor DKIM vouches for it. Senders are easily forged'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from remove" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from remove" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l sort -d 'In what order [default on a terminal: newest; else that of the store]' -r -f -a "newest\t'By time, the newest first'
oldest\t'By time, the oldest first'
client\t'By the client\'s network or domain'
sender\t'By the sender\'s domain, then its mailbox'
recipient\t'By the recipient\'s domain, then its mailbox'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l limit -d 'Only the first NUMBER of that order [default on a terminal: 1000]' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l since -d 'Only what was seen or made within that time, such as 2h' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l json -d 'Print JSON, one object a line'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -l no-pager -d 'On a terminal, too, print without a pager'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from import" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from import" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from import" -l recipients -d 'The files are whitelists of recipients'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add an entry, or replace it'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove an entry'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from help" -f -a "list" -d 'List entries: KIND ENTRY SINCE UNTIL FLAGS COMMENT'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from help" -f -a "import" -d 'Read postgrey\'s whitelist files'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand whitelist; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand import" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand import" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand import" -l dry-run -d 'Only say what would be imported'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand import" -l pending -d 'First attempts, too, whose retry may still come'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand export" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand export" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand backup" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand backup" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand restore" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand restore" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand purge" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand purge" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand purge" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand purge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l recipient -d 'The recipient the senders wrote to: found inside a sender, it is cut out exactly' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l level -d 'How much to normalise [default: what the configuration says]' -r -f -a "full\t'Unwrap and mask: the default'
unwrap\t'Unwrap SRS and BATV only'
exact\t'ASCII lower case, and no dot at the end of the domain'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l stdin -d 'Read from standard input: one sender a line, or sender, tab, recipient'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l why -d 'Also print each rule that fired, and what it took away'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -l json -d 'Print one JSON object a line, with the steps'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand normalize" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -l since -d 'How far back, from 1h to 730d; by the hour up to 35d, then by the day' -r
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -l html -d 'Write a page for a browser to FILE, or to the standard output for -' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l compare -d 'Replay by this configuration, too, and show both side by side' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l learn -d 'Make known in the store what would be known now'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l utc -d 'Times in the log that have no zone are UTC [default: the local time of this machine]'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -l json -d 'Print one JSON object'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l exim -d 'The Exim binary [default: exim4 or exim in the usual places]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l exim-config -d 'The configuration that Exim shall be asked about [default: Exim\'s own]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l library -d 'The library [default: the one that Exim\'s configuration names, or /usr/lib/exim4/eximgrey.so]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l repair -d 'Make a damaged store anew from what can be read of it; the damaged files are put aside'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -f -a "enable" -d 'Switch greylisting on: on Debian by a drop-in; elsewhere the lines to insert are shown'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -f -a "disable" -d 'Switch greylisting off'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -f -a "status" -d 'Say whether greylisting is switched on and works'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and not __fish_seen_subcommand_from enable disable status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from enable" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from enable" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from enable" -l observe -d 'Defer nothing yet, only say in the log what would be: sets mode = "observe" in the configuration file'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from enable" -l enforce -d 'Defer: sets mode = "enforce" in the configuration file, where it says another'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from disable" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from disable" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from status" -l config -d 'The configuration file [default: /etc/eximgrey/eximgrey.toml, which need not exist]' -r -F
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from status" -l color -d 'When to colour: auto, always or never [default: auto]' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In pipes and files, too'
never\t'Not at all'"
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from status" -l json -d 'Print JSON'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from help" -f -a "enable" -d 'Switch greylisting on: on Debian by a drop-in; elsewhere the lines to insert are shown'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from help" -f -a "disable" -d 'Switch greylisting off'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from help" -f -a "status" -d 'Say whether greylisting is switched on and works'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand exim; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "status" -d 'Show the state of the store: size, counts, recent decisions'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "list" -d 'List what waits, what is known, who has proved himself or is trapped'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "metrics" -d 'Prints figures for Prometheus'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "watch" -d 'Show decisions as they happen'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "explain" -d 'Say what Exim would be answered now, and why'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "log" -d 'Tells what became of a mail, in words'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "check-config" -d 'Check the configuration file, as Exim would read it, and show what is in force'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "release" -d 'Let the next retry of a deferred mail pass'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "trap" -d 'Trap a client\'s network for a while'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "forget" -d 'Make a client, or mail that has passed, wait again'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "whitelist" -d 'Keep the list of clients, domains, senders and recipients that are never greylisted'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "import" -d 'Takes in what another greylister has learnt, or another eximgrey has exported. What is known already loses nothing by it, and the same files may be read again'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "export" -d 'Writes all that the store holds, a JSON object a line: complete, so that it can be read into an empty store as if nothing had happened'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "backup" -d 'Copies what is known to a new directory, while Exim goes on'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "restore" -d 'Puts a backup in the place of what is known, in one step, while Exim goes on'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "purge" -d 'Delete what has expired, now'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "normalize" -d 'Show the sender key of addresses'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "report" -d 'Says what greylisting has done: what came back, what never did, what passed at once and why, who sends'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "replay" -d 'Says what greylisting would have done to the mail of Exim\'s main log, by this configuration'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "doctor" -d 'Check the installation: Exim, its configuration, the store'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "exim" -d 'Switch greylisting on and off in Exim\'s configuration'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and not __fish_seen_subcommand_from status list metrics watch explain log check-config release trap forget whitelist import export backup restore purge normalize report replay doctor exim help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from whitelist" -f -a "add" -d 'Add an entry, or replace it'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from whitelist" -f -a "remove" -d 'Remove an entry'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from whitelist" -f -a "list" -d 'List entries: KIND ENTRY SINCE UNTIL FLAGS COMMENT'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from whitelist" -f -a "import" -d 'Read postgrey\'s whitelist files'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from exim" -f -a "enable" -d 'Switch greylisting on: on Debian by a drop-in; elsewhere the lines to insert are shown'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from exim" -f -a "disable" -d 'Switch greylisting off'
complete -c eximgrey -n "__fish_eximgrey_using_subcommand help; and __fish_seen_subcommand_from exim" -f -a "status" -d 'Say whether greylisting is switched on and works'
