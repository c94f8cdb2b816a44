//! A configuration that the administrator wrote: nothing is changed in it, and the lines that are shown work.

use super::*;

/// A configuration of the administrator's own.
const OWN: &str = "\
primary_hostname = mx.example.org
domainlist local_domains = @ : example.org
@HOSTS@
acl_smtp_rcpt = acl_rcpt
@DATA@
host_lookup =
keep_environment =
begin acl

acl_rcpt:
  accept  hosts = :
  accept  local_parts = postmaster
  require message = relay not permitted
          domains = +local_domains
  # require verify = recipient
  require verify = recipient
  @CHECKS@

@DATA_ACL@
begin routers
bin:
  driver = redirect
  local_parts = user : root
  data = :blackhole:
";

/// The lines that are shown for a configuration of the administrator's own, inserted where they are said to
/// belong, enable greylisting. The command does not touch the file.
#[test]
fn lines_shown_for_an_own_configuration_work() {
    let data_acl = "acl_data:\n  deny condition = ${if eq{1}{2}}\n  accept\n";
    let hosts = "hostlist relay_from_hosts = 127.0.0.1";
    for (hosts, data, data_acl, checks) in [
        (hosts, "acl_smtp_data = acl_data", data_acl, "accept"),
        ("", "", "", "accept\n    hosts = 198.51.100.0/24 : 127.0.0.1\n  deny"),
        (
            hosts,
            "smtp_accept_max_per_host = 9",
            "",
            "deny senders = x@y.example\n  accept  control = dkim_disable_verify",
        ),
    ] {
        in_own_world(move |world| {
            let installed = Installed { world, layout: Layout::Unsplit };
            installed.install();
            let file = PathBuf::from(format!("{ETC}/exim4.conf"));
            let acls = world.path("acls.conf");
            let text = OWN
                .replace("@HOSTS@", hosts)
                .replace("@DATA@", data)
                .replace("@DATA_ACL@", data_acl)
                .replace("@CHECKS@", checks);
            // The ACLs are in a file that is included.
            let (main, rest) = text.split_once("\nacl_rcpt:").unwrap();
            let (acl_text, rest) = rest.split_once("begin routers").unwrap();
            fs::write(&acls, format!("acl_rcpt:{acl_text}")).unwrap();
            let main =
                format!("{}{main}\n.include {}\nbegin routers{rest}", installed.own_lines(), acls.display());
            fs::write(&file, main).unwrap();

            let before = installed.files();
            let shown =
                installed.eximgrey(&["enable"]).expect(1, "not enabled: /etc/exim4/exim4.conf is yours");
            installed.expect_unchanged(&before);
            insert(&shown.out);
            installed.eximgrey(&["enable"]).expect(0, "already enabled");
            installed
                .eximgrey(&["status"])
                .expect(0, "kind          own\nenabled       yes\nbounces       yes\n");
            {
                let _exim = world.start_installed_exim();
                expect_greylisting(SENDER);
                expect_greylisting("");
                attempt("127.0.0.1", SENDER, USER).expect_accepted();
                attempt(CLIENT, SENDER, "user@elsewhere.test").expect(550);
            }
            let shown = installed.eximgrey(&["disable"]).expect(1, "not disabled: ");
            let includes = shown.out.lines().filter(|line| line.contains(":") && line.contains(".include"));
            assert_eq!(includes.count(), 3, "{shown}");
        });
    }
}

/// As in Exim's default configuration: recipients that are not accepted count as guessed.
const RULE: &str = "deny message = too many bad recipients
          condition = ${if and{{>{$rcpt_count}{10}}\\
                           {<{$recipients_count}{${eval:$rcpt_count / 2}}}}}
          log_message = ${eval:$rcpt_count-$recipients_count} bad recipients
  accept  hosts = :";

/// A rule of the administrator's that would refuse the eleventh greylisted recipient for good is found, and
/// shown mended: then each is deferred, and guessed recipients are refused as before.
#[test]
fn a_rule_on_bad_recipients_is_shown_mended() {
    in_own_world(|world| {
        let installed = Installed { world, layout: Layout::Unsplit };
        installed.install();
        let text = OWN
            .replace("@HOSTS@", "hostlist relay_from_hosts = 127.0.0.1")
            .replace("@DATA@", "acl_smtp_data = acl_data")
            .replace("@DATA_ACL@", "acl_data:\n  accept condition = ${if >{$recipients_count}{0}}\n")
            .replace("@CHECKS@", "accept")
            .replacen("accept  hosts = :", RULE, 1);
        fs::write(format!("{ETC}/exim4.conf"), installed.own_lines() + &text).unwrap();
        world.configure("delay = \"1h\"");
        let session = |user: &str, code, last| {
            let mut client = Client::connect(CLIENT);
            client.mail(SENDER);
            (1..=15).for_each(|n| {
                drop(client.rcpt(&format!("{user}@example.org")).expect(if n > 10 { last } else { code }))
            });
            client.quit();
        };
        let shown = installed.eximgrey(&["enable"]).expect(1, "the eleventh of a new sender gets a 550");
        let (rule, lines) = shown.out.split_once("\n\n").unwrap().1.split_once("\n\n").unwrap();
        assert_eq!(rule.matches("in place of this line").count(), 2, "{shown}");
        insert(lines);
        {
            let _exim = world.start_installed_exim();
            session("user", 451, 550);
        }
        let doctor = || done(Command::new(installed.command()).arg("doctor"));
        let found = "recipients     deferred recipients count as bad in \"condition = ";
        assert!(doctor().out.contains(&format!("BROKEN   {found}")), "{}", doctor());
        let shown = installed.eximgrey(&["enable"]).expect(1, "already enabled: the RCPT ACL");
        insert(&shown.out);
        installed.eximgrey(&["enable"]).expect(0, "already enabled");
        assert!(!doctor().out.contains(found), "{}", doctor());
        let _exim = world.start_installed_exim();
        session("user", 451, 451);
        session("guess", 550, 550);
        world.wait_for_log("rejected RCPT <guess@example.org>: 15 bad recipients", 1);
    });
}

/// On Debian, a rule of the administrator's that would refuse greylisted recipients for good is named, and
/// nothing is changed; so is what it does, where the rule is not one that is understood.
#[test]
fn a_session_with_many_recipients_is_tried() {
    for (condition, why) in [
        ("${if and{{>{$rcpt_count}{10}}{<{$recipients_count}{5}}}}", "Mended:\n    condition = ${if and"),
        (
            "${if >{$rcpt_defer_count}{10}}",
            "recipient 12 of a trial session (exim -bh 192.0.2.1) was answered \"250",
        ),
    ] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, Layout::Split, "");
            let file = format!("{ETC}/conf.d/acl/30_exim4-config_check_rcpt");
            let text = fs::read_to_string(&file).unwrap();
            let rule = format!("acl_check_rcpt:\n  deny\n    condition = {condition}\n");
            fs::write(file, text.replacen("acl_check_rcpt:\n", &rule, 1)).unwrap();
            update_exim4_conf();
            installed.expect_refused(&["enable"], why);
        });
    }
}

/// Inserts lines as an administrator would who takes the command at its word.
pub(super) fn insert(shown: &str) {
    let mut place: Option<(PathBuf, usize)> = None;
    for line in shown.lines() {
        if let Some((file, rest)) =
            line.split_once(": before this line").map(|(place, _)| place.rsplit_once(':').unwrap())
        {
            place = Some((file.into(), rest.parse::<usize>().unwrap() - 1));
        } else if let Some(at) = line.strip_suffix(": in place of this line") {
            let (file, number) = at.rsplit_once(':').unwrap();
            let number = number.parse::<usize>().unwrap() - 1;
            let lines = fs::read_to_string(file).unwrap();
            let left = lines.lines().enumerate().filter(|(at, _)| *at != number);
            fs::write(file, left.map(|(_, line)| line.to_owned() + "\n").collect::<String>()).unwrap();
            place = Some((file.into(), number));
        } else if let Some(new) = line.strip_prefix("    ") {
            let (file, at) = place.as_mut().expect("a place");
            let text = fs::read_to_string(&*file).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            lines.insert(*at, new);
            *at += 1;
            fs::write(file, lines.join("\n") + "\n").unwrap();
        }
    }
}

/// Where the place is not clear, it is told in words and no line is named.
#[test]
fn an_unclear_place_is_told_in_words() {
    in_own_world(|world| {
        let installed = Installed { world, layout: Layout::Unsplit };
        installed.install();
        let text = "acl_smtp_rcpt = a\nbegin acl\na:\n  accept condition = ${if eq{1}{2}}\n  deny\n";
        fs::write(format!("{ETC}/exim4.conf"), installed.own_lines() + text).unwrap();
        let shown = installed
            .eximgrey(&["enable"])
            .expect(1, "/exim4.conf: in the ACL a (acl_smtp_rcpt), before mail");
        let numbered = shown.out.lines().filter(|line| line.contains(": before this line")).count();
        // The main section, the setting for the DATA ACL, and the ACL itself.
        assert_eq!(numbered, 3, "{shown}");
    });
}

/// Where the ACL gives another mode than the one that is asked for, it is said, and the file stays as it was.
#[test]
fn a_mode_that_would_not_count_is_not_set() {
    in_own_world(|world| {
        let installed = Installed { world, layout: Layout::Unsplit };
        installed.install();
        let text = OWN
            .replace("@HOSTS@", "hostlist relay_from_hosts = 127.0.0.1")
            .replace("@DATA@", "acl_smtp_data = acl_data")
            .replace("@DATA_ACL@", "acl_data:\n  accept\n")
            .replace("@CHECKS@", "accept");
        let options = installed.own_lines().replacen("}\n", "}{mode=observe}\n", 1);
        fs::write(format!("{ETC}/exim4.conf"), options + &text).unwrap();
        world.configure("mode = \"off\"");
        let shown = installed.eximgrey(&["enable"]).expect(1, "mode: off: nothing is deferred");
        insert(&shown.out);
        installed.eximgrey(&["enable"]).expect(0, "mode: observe: nothing is deferred");
        let before = installed.files();
        installed
            .eximgrey(&["enable", "--enforce"])
            .expect(1, "its mode is not enforce: EXIMGREY_OPTIONS names another mode or file\nundone: ");
        installed.expect_unchanged(&before);
    });
}
