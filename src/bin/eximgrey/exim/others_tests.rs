use super::*;
use Kind::*;

/// An RCPT ACL with `statements`, as Exim prints it.
fn configuration(statements: &str) -> String {
    format!(
        "acl_smtp_rcpt = ${{if eq{{1}}{{1}}{{check_rcpt}}{{deny}}}}\nacl_smtp_data = check_data\nbegin acl\n\n  check_rcpt:\n{statements}\n    \
         accept\n\n  check_data:\n    accept\n\n  unused:\n    defer message = greylisted\n\nbegin routers\n"
    )
}

fn kinds(whole: &str) -> Vec<(Kind, &str)> {
    in_acls(whole).into_iter().map(|found| (found.kind, found.verb)).collect()
}

type Expected = &'static [(Kind, &'static str)];

/// Statements as they are found on public pages and in packages, each in its author's shape.
#[test]
fn greylisters_are_recognised() {
    let cases: [(&str, &str, Expected); 18] = [
        (
            "greylistd, by its own program",
            "defer\n message = $sender_host_address may not yet deliver\n log_message = greylisted.\n !senders = :\n !hosts = : \
             +relay_from_hosts : ${if exists {/etc/greylistd/whitelist-hosts}{/etc/greylistd/whitelist-hosts}{}}\n \
             verify = recipient\n condition = ${readsocket{/var/run/greylistd/socket}{--grey $sender_host_address \
             $sender_address $local_part@$domain}{5s}{}{false}}\ndeny\n log_message = blacklisted.\n condition = \
             ${readsocket{/var/run/greylistd/socket}{--black $sender_host_address $sender_address}{5s}{}{false}}",
            &[(Greylistd, "defer"), (Greylistd, "deny")],
        ),
        (
            "greylistd, with a variable",
            "defer\n domains = +local_domains\n set acl_m9 = $sender_host_address $sender_address $local_part@$domain\n set \
             acl_m9 = ${readsocket{/run/greylistd/socket}{$acl_m9}{5s}{}{}}\n condition = ${if eq {$acl_m9}{grey}}",
            &[(Greylistd, "defer")],
        ),
        (
            "postgrey, by a socket",
            "defer log_message = wait, $sender_host_address\n set acl_m0 = request=smtpd_access_policy\\nprotocol_state=RCPT\\n\\n\n \
             set acl_m0 = ${sg{${readsocket{/var/run/postgrey}{$acl_m0}{5s}{}{action=DUNNO}}}{action=}{}}\n condition = ${if \
             eq{${uc:${substr{0}{5}{$acl_m0}}}}{DEFER}{true}{false}}\nwarn add_header = X-A: $acl_m0",
            &[(Policy, "defer")],
        ),
        (
            "postgrey, by a port, asked above",
            "warn set acl_m_answer = ${readsocket{inet:127.0.0.1:10023}{$acl_m_question}{5s}{}{}}\ndefer condition = ${if \
             match{$acl_m_answer}{DEFER}}",
            &[(Policy, "warn")],
        ),
        (
            "sqlgrey, whatever the port",
            "warn set acl_m1 = ${readsocket{inet:localhost:9999}{request=smtpd_access_policy\\n\\n}{3s}{}{}}\nwarn set acl_m2 = \
             ${extract{action}{$acl_m1}}\ndefer condition = ${if match{$acl_m2}{(?i)defer}}",
            &[(Policy, "warn")],
        ),
        (
            "a daemon of one's own",
            "warn set acl_m1 = ${readsocket{/run/sockd.sock}{GREYLIST ${lc:$sender_address} $sender_host_address}{3s}{\\n}{0}}\ndefer \
             hosts = !+relay_hosts\n condition = ${if eq{$acl_m1}{0}{0}{1}}\n message = You have been greylisted.",
            &[(Daemon, "warn"), (Daemon, "defer")],
        ),
        (
            "a control panel's daemon",
            "defer condition = ${if eq{${readsocket{/var/run/cpgreylistd.sock}{check $sender_host_address}{2s}{}{no}}}{yes}}",
            &[(Daemon, "defer")],
        ),
        ("seen", "defer !seen = -5m / key=${sender_host_address}_$sender_address", &[(Seen, "defer")]),
        (
            "seen, and the rest waits",
            "accept seen = -5m / key=$sender_host_address\n defer message = try later",
            &[(Seen, "accept")],
        ),
        (
            "seen, through variables",
            "warn set acl_c_known = false\n seen = -0m / key=host_$sender_host_address / readonly\n set acl_c_known = true\n\
             warn !condition = $acl_c_known\n set acl_m_wait = true\n seen = -5m / key=${sender_address}_$local_part\n set acl_m_wait = \
             false\ndefer condition = $acl_m_wait\n logwrite = deferred for greylisting",
            &[(Seen, "warn"), (Seen, "warn"), (Seen, "defer")],
        ),
        (
            "a table in SQLite",
            "warn set acl_m_first = ${lookup sqlite{SELECT first FROM greylist WHERE client='$sender_host_address'}}\nwarn condition = \
             ${if !def:acl_m_first}\n set acl_m_added = ${lookup sqlite{INSERT INTO greylist VALUES (1)}}\ndefer condition = ${if \
             def:acl_m_first{${if <{$tod_epoch}{${eval:$acl_m_first+300}}}}{true}}",
            &[(Table, "warn")],
        ),
        (
            "a table in MySQL, in an ACL of its own",
            "defer !senders = : postmaster\n acl = ask_table\n message = try again later\naccept\n\n  ask_table:\n    accept condition = \
             ${if eq{${lookup mysql{SELECT id FROM graylist WHERE sender='${quote_mysql:$sender_address}'}}}{}}\n deny",
            &[(Table, "accept")],
        ),
        (
            "a directory",
            "defer condition = ${lookup{${mask:$sender_host_address/24}}dsearch{/var/spool/exim4/greylist}{no}{yes}}",
            &[(Table, "defer")],
        ),
        (
            "a program",
            "defer condition = ${if !eq{0}{${run{/usr/local/bin/exim-ext-grey $sender_host_address}{$runrc}{$runrc}}}}",
            &[(Program, "defer")],
        ),
        (
            "another library",
            "defer condition = ${dlfunc{/usr/local/libexec/greylist.so}{grey}{$sender_host_address}{240}{604800}}",
            &[(Program, "defer")],
        ),
        (
            "rspamd",
            "defer message = Please try again later\n spam = nobody:true\n condition = ${if eq{$spam_action}{soft reject}}",
            &[(Rspamd, "defer")],
        ),
        (
            "a statement that says so",
            "defer message = Gray-listed, come back\n dnslists = list.example",
            &[(Unknown, "defer")],
        ),
        (
            "one that says so in the log",
            "defer log_message = greylisting $sender_host_address\n hosts = !+known",
            &[(Unknown, "defer")],
        ),
    ];
    for (what, statements, expected) in cases {
        assert_eq!(kinds(&configuration(statements)), expected, "{what}");
    }
}

/// What only counts, blocks, adds headers or spares somebody is none, nor are we.
#[test]
fn harmless_statements_are_left_alone() {
    for statements in [
        "defer ratelimit = 20 / 1h / strict\n message = Sender rate $sender_rate",
        "defer ratelimit = 20/1h\n !hosts = net-iplsearch;/etc/greylistd/whitelist-hosts\n message = slow down",
        "defer ratelimit = 20/1h\n condition = ${lookup{$sender_host_address}lsearch{/etc/exim4/greylist-exempt}{no}{yes}}",
        "deny dnslists = zen.spamhaus.org : bl.grey.example\n message = listed at $dnslist_domain",
        "defer dnslists = bl.example\n message = try again when you are not listed",
        "defer hosts = +relay_from_hosts\n message = queue is full",
        "warn seen = -1d / key=$sender_host_address\n add_header = X-Seen: yes",
        "warn seen = never / key=$sender_address\n logwrite = new sender",
        "deny condition = ${lookup mysql{SELECT 1 FROM blacklist WHERE host='$sender_host_address'}}",
        "warn set acl_m_note = ${lookup sqlite{SELECT note FROM greylist}}\n add_header = X-Note: $acl_m_note",
        "accept hosts = ${lookup mysql{SELECT ip FROM greylist_whitelist}}",
        "accept hosts = lsearch;/etc/exim4/greylist-hosts\ndefer !verify = sender/callout",
        "warn set acl_m_dns = ${readsocket{/run/policyd-spf}{request=smtpd_access_policy\\n\\n}{3s}{}{}}\n add_header = $acl_m_dns",
        "defer malware = *\n condition = ${readsocket{/run/clamd.sock}{PING}{2s}{}{}}",
        "warn condition = ${if eq{$spam_action}{greylist}}\n add_header = X-Spam-Action: greylist",
        "deny condition = ${if eq{$spam_action}{reject}}\n message = spam",
        "deny message = this host is not greylisted, it is refused\n hosts = +bad",
        "defer message = not greylisted: no such queue\n hosts = +bad",
        "defer senders = *@greyhound.example\n message = moved",
        "defer verify = recipient\n message = temporarily unable",
        "warn set acl_m_eximgrey = ${dlfunc{/usr/lib/exim4/eximgrey.so}{greylist}{$sender_host_address}}\ndefer condition = ${if \
         eq{${length_12:$acl_m_eximgrey}}{action=defer}}\n message = 451 4.7.1 Greylisted, please try again in a few minutes",
        "warn set acl_m_eximgrey_skip = ${lookup sqlite{SELECT 1 FROM greylist_off}}",
    ] {
        let whole = configuration(statements);
        assert_eq!(in_acls(&whole), [], "{statements}");
    }
}

#[test]
fn sa_exim_is_recognised_in_the_main_section() {
    let path = "local_scan_path = /usr/lib/exim4/local_scan/sa-exim.so\n";
    assert!(uses_sa_exim(&format!("{path}begin acl\n")));
    assert!(!uses_sa_exim(&format!("local_scan_path = \nbegin acl\n{path}")));
}
