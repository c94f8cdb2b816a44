//! Another greylister that is still at work is named, with the lines to remove.

use super::*;

/// In the shape of what greylistd's own program puts into Debian's files; nobody listens, so it defers nobody.
const GREYLISTD: &str = "\
  defer
    message        = not yet authorized to deliver mail. \\
                     Please try later.
    log_message    = greylisted.
    !senders       = :
    !authenticated = *
    # of ours
    condition      = ${readsocket{/var/run/greylistd/socket}\\
                                 {--grey \\
                                  $sender_host_address \\
                                  $sender_address \\
                                  $local_part@$domain}\\
                                 {5s}{}{false}}

";

const WARNING: &str = "warning: another greylister is still at work, and who is new to both waits twice: ";

/// Inserts `statement` below the label of `acl`, and says in which line it begins.
fn insert_into(file: &str, acl: &str, statement: &str) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let (above, below) = text.split_once(&format!("\n{acl}:\n")).unwrap();
    let above = format!("{above}\n{acl}:\n");
    fs::write(file, format!("{above}{statement}{below}")).unwrap();
    above.lines().count() + 1
}

#[track_caller]
fn expect_warning(done: &Done, kind: &str, places: &[String]) {
    let lines: String = places.iter().map(|place| format!("    {place}\n")).collect();
    assert!(
        done.out.contains(&format!("{WARNING}{kind}\n{lines}  To switch it off: ")),
        "{places:?}: {done}"
    );
}

/// On Debian the files are named that the configuration is made of, and a hook's file. It is a warning: all else
/// goes on.
#[test]
fn debians_files_are_named() {
    for (layout, rcpt) in
        [(Layout::Split, "conf.d/acl/30_exim4-config_check_rcpt"), (Layout::Unsplit, "exim4.conf.template")]
    {
        in_own_world(move |world| {
            let hook = world.path("data_hook");
            fs::write(
                &hook,
                "  # mine\n  defer  condition = no\n         !seen = -5m / key=DAY$sender_host_address\n",
            )
            .unwrap();
            let macros = format!("CHECK_DATA_LOCAL_ACL_FILE = {}\nDAY = data_\n", hook.display());
            let installed = Installed::on_debian(world, layout, &macros);
            let plain = installed.eximgrey(&["enable", "--observe"]).expect(0, "\nenabled\n");
            assert!(plain.out.contains("Exim's own \"seen\"") && !plain.out.contains("greylistd"), "{plain}");
            let file = format!("{ETC}/{rcpt}");
            let line = insert_into(&file, "acl_check_rcpt", GREYLISTD);
            update_exim4_conf();
            let enabled = installed.eximgrey(&["enable", "--enforce"]).expect(0, "already enabled");
            let places = [format!("{file}:{line}: defer (ACL acl_check_rcpt)")];
            expect_warning(&enabled, "greylistd", &places);
            // A macro is in the clause that tells, so another one shows the place.
            let places = [format!("{}:2: defer (ACL acl_check_data)", hook.display())];
            expect_warning(&enabled, "Exim's own \"seen\"", &places);
            let doctor = crate::enable::done(Command::new(installed.command()).arg("doctor"));
            for kind in ["greylistd", "Exim's own \"seen\""] {
                let line = format!("warning  greylisters    another greylister is at work, {kind}: /");
                assert!(doctor.out.contains(&line), "{line:?}: {doctor}");
            }
            let _exim = world.start_installed_exim();
            expect_greylisting(SENDER);
        });
    }
}

/// In a configuration of one's own, the lines are named where they are, in an included file too; what is no
/// greylister is not.
#[test]
fn lines_of_an_own_configuration_are_named() {
    in_own_world(|world| {
        let installed = Installed { world, layout: Layout::Unsplit };
        installed.install();
        let (file, part) = (format!("{ETC}/exim4.conf"), world.path("part.acl"));
        let harmless = "  defer ratelimit = 100 / 1h / strict\n  warn seen = -1h / key=$sender_address\n       logwrite = again\n";
        let asks = "  warn set acl_m_first = ${lookup sqlite,file=/var/spool/exim4/grey.db \\\n    {SELECT first FROM greylist WHERE \\\n     host='$sender_host_address'}}\n";
        let defers = "  defer message = Greylisted\n        condition = ${if !def:acl_m_first}\n        condition = ${if eq{1}{2}}\n";
        fs::write(&part, format!("{harmless}\n{defers}")).unwrap();
        let main = format!(
            "{}primary_hostname = mx.example.org\nkeep_environment =\nacl_smtp_rcpt = rcpt\nacl_smtp_mail = mail\nhostlist \
             relay_from_hosts =\nbegin acl\nmail:\n  accept\nunused:\n{GREYLISTD}\n  accept\n",
            installed.own_lines()
        );
        let acl = format!("rcpt:\n{asks}.include {}\n  accept\n", part.display());
        fs::write(&file, format!("{main}{acl}")).unwrap();
        let line = main.lines().count() + 2;
        let shown = installed.eximgrey(&["enable"]).expect(1, "not enabled: ");
        let places =
            [format!("{file}:{line}: warn (ACL rcpt)"), format!("{}:5: defer (ACL rcpt)", part.display())];
        expect_warning(&shown, "a table that an ACL looks into", &places);
        assert_eq!(shown.out.matches(WARNING).count(), 1, "{shown}");
    });
}

/// Debian's own configuration greylists nobody, and fragments and recipes are ours.
#[test]
fn nothing_is_named_where_nothing_else_greylists() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let recipes = world.path("usr/share/eximgrey/exim-conf/recipes");
            let macros = format!(
                "EXIMGREY_CHOICE = {0}/selective.conf\nEXIMGREY_HEADER = X-Greylist: delayed\n.include {0}/at-data.conf\n",
                recipes.display()
            );
            let installed = Installed::on_debian(world, layout, "");
            for macros in ["", &macros] {
                installed.set_macros(macros);
                update_exim4_conf();
                let enabled = installed.eximgrey(&["enable"]).expect(0, "enabled");
                assert!(!enabled.out.contains("another greylister"), "{enabled}");
            }
            let doctor = crate::enable::done(Command::new(installed.command()).arg("doctor"));
            assert!(!doctor.out.contains("greylisters"), "{doctor}");
        });
    }
}
