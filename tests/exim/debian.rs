//! Debian's own Exim configuration, split and unsplit, with nothing added but the drop-ins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::smtp::{Client, attempt};
use crate::world::{
    ETC, EXIM, Exim, FRAGMENTS, GENERATED_FILE, Lacking, World, copy_tree, exim_is_at_least, in_own_world,
    mount_bind,
};

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";
/// What Debian answers who guesses recipients.
const TOO_MANY: &str = "Rejected for too many bad recipients";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    Split,
    Unsplit,
}

impl Layout {
    /// The file that holds the administrator's own macros.
    pub fn macros_file(self) -> &'static str {
        match self {
            Layout::Split => "conf.d/main/000_localmacros",
            Layout::Unsplit => "exim4.conf.localmacros",
        }
    }

    /// The shipped drop-in, which is also its place below /etc/exim4.
    fn drop_in(self) -> &'static str {
        match self {
            Layout::Split => "conf.d/main/00_eximgrey",
            Layout::Unsplit => "exim4.conf.localmacros",
        }
    }
}

/// What debconf asks for: a host that takes mail for example.org from everywhere.
pub fn answer_debconf(layout: Layout) {
    let file = format!("{ETC}/update-exim4.conf.conf");
    let split = matches!(layout, Layout::Split);
    let answers = format!(
        "dc_eximconfig_configtype='internet'\n\
         dc_other_hostnames='example.org'\n\
         dc_local_interfaces=''\n\
         dc_relay_domains=''\n\
         dc_minimaldns='false'\n\
         dc_relay_nets=''\n\
         dc_smarthost=''\n\
         CFILEMODE='644'\n\
         dc_use_split_config='{split}'\n\
         dc_hide_mailname=''\n\
         dc_mailname_in_oh='true'\n\
         dc_localdelivery='mail_spool'\n"
    );
    fs::write(file, answers).unwrap();
}

/// Adds the drop-in, and above it the macros of the administrator (here: of the test).
fn add_drop_in(layout: Layout, macros: &str) {
    let shipped = fs::read_to_string(format!("{FRAGMENTS}/debian/{}", layout.drop_in())).unwrap();
    let drop_in = format!("{ETC}/{}", layout.drop_in());
    assert!(!Path::new(&drop_in).exists(), "{drop_in} is Debian's own");
    fs::write(format!("{ETC}/{}", layout.macros_file()), macros).unwrap();
    let above = fs::read_to_string(&drop_in).unwrap_or_default();
    fs::write(drop_in, above + &shipped).unwrap();
}

/// Debian's own generator; it has Exim check the result before it puts it in place.
pub fn update_exim4_conf() {
    let output = Command::new("update-exim4.conf").output().unwrap();
    assert!(output.status.success(), "update-exim4.conf: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes the configuration from Debian's files and the drop-in, and starts Exim on it.
fn start<'w>(world: &'w World, layout: Layout, macros: &str) -> Exim<'w> {
    fs::write(world.path("aliases"), "user: :blackhole:\n").unwrap();
    mount_bind(&world.path("aliases"), Path::new("/etc/aliases"));
    answer_debconf(layout);
    let stock = files_of_etc();
    add_drop_in(layout, macros);
    update_exim4_conf();
    let now = files_of_etc();
    for (path, text) in stock {
        assert!(now.get(&path) == Some(&text), "{path:?} was changed");
    }
    // Debian ships its authenticators commented out; they are the last section of the file.
    let generated = fs::read_to_string(GENERATED_FILE).unwrap();
    let authenticator = "\nserver_of_the_test:\n driver = plaintext\n public_name = PLAIN\n\
                         \x20server_prompts = :\n server_condition = yes\n";
    fs::write(GENERATED_FILE, generated + authenticator).unwrap();
    world.start_installed_exim()
}

pub fn files_of_etc() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![PathBuf::from(ETC)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let text = fs::read(&path).unwrap();
                files.insert(path, text);
            }
        }
    }
    files
}

fn accepts_configuration() {
    let output = Command::new(EXIM).arg("-bV").output().unwrap();
    assert!(output.status.success(), "exim4 -bV: {output:?}");
}

#[track_caller]
fn expect_greylisting(world: &World, layout: Layout) {
    // Debian's own ACLs read no variable that is not set either.
    let _exim = start(world, layout, &(world.macros() + "strict_acl_vars = true\n"));
    accepts_configuration();
    attempt(CLIENT, SENDER, USER).expect_greylisted();
    attempt(CLIENT, SENDER, USER).expect_accepted();
    attempt(CLIENT, SENDER, USER).expect_accepted();
    world.wait_for_log("eximgrey: action=defer reason=new", 1);
    world.wait_for_log("eximgrey: action=pass reason=retried", 1);

    attempt(CLIENT, "", USER).expect_greylisted();
    attempt(CLIENT, "", USER).expect_accepted();

    // Neither our own host, nor one that has authenticated, nor mail to postmaster.
    attempt("127.0.0.1", "bob@sender.test", USER).expect_accepted();
    attempt(CLIENT, "carol@sender.test", "postmaster@example.org").expect_accepted();
    let mut client = Client::connect(CLIENT);
    client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
    client.mail("dave@sender.test");
    client.rcpt(USER).expect_accepted();
    client.data().expect_accepted();
    client.quit();

    // What is refused for good stays so.
    attempt(CLIENT, SENDER, "nobody-here@example.org").expect(550);
    attempt(CLIENT, SENDER, "user@elsewhere.test").expect(550);
}

/// The split configuration greylists with one file added.
#[test]
fn stock_split_configuration_greylists() {
    in_own_world(|world| expect_greylisting(world, Layout::Split));
}

/// The unsplit configuration greylists with a few lines in exim4.conf.localmacros.
#[test]
fn stock_unsplit_configuration_greylists() {
    in_own_world(|world| expect_greylisting(world, Layout::Unsplit));
}

/// Fifteen recipients of a new sender are each deferred, however many messages come in one connection, and pass when he
/// comes back. Who guesses recipients is refused from the eleventh on, without a look at them, as Debian has it.
#[test]
fn many_recipients_are_deferred_and_guessed_ones_refused() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let _exim = start(world, layout, &world.macros());
            let users: Vec<_> = (1..=15).map(|number| format!("user{number}@example.org")).collect();
            let aliases = users.iter().map(|user| user.replace("@example.org", ": :blackhole:\n"));
            fs::write(world.path("aliases"), aliases.collect::<String>()).unwrap();
            let mut client = Client::connect(CLIENT);
            for sender in [SENDER, "bob@sender.test"] {
                client.mail(sender);
                users.iter().for_each(|user| client.rcpt(user).expect_greylisted());
                client.command("RSET").expect(250);
            }
            client.mail(SENDER);
            users.iter().for_each(|user| client.rcpt(user).expect_accepted());
            client.data().expect_accepted();

            client.mail("carol@sender.test");
            users.iter().take(3).for_each(|user| client.rcpt(user).expect_greylisted());
            for number in 4..=15 {
                let refused = client.rcpt(&format!("guess{number}@example.org")).expect(550);
                assert_eq!(refused.text == TOO_MANY, number > 10, "{number}: {}", refused.text);
            }
            let refused = client.rcpt(&users[4]).expect(550);
            assert_eq!(refused.text, TOO_MANY, "the answer tells whether there is such a recipient");
            client.rcpt("postmaster@example.org").expect_accepted();
            client.quit();
            world.wait_for_log(&format!("REJECT [{CLIENT}]: bad recipient count high [8]"), 1);
        });
    }
}

/// Who has left Debian's rule out, or has an ACL of his own, keeps what he has.
#[test]
fn rule_on_bad_recipients_is_the_administrators() {
    in_own_world(|world| {
        let _exim =
            start(world, Layout::Split, &(world.macros() + "CHECK_RCPT_NO_FAIL_TOO_MANY_BAD_RCPT = yes\n"));
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        for number in 1..=15 {
            let refused = client.rcpt(&format!("guess{number}@example.org")).expect(550);
            assert_ne!(refused.text, TOO_MANY);
        }
        client.quit();
    });
    in_own_world(|world| {
        let _exim = start(world, Layout::Split, &(world.macros() + "MAIN_ACL_CHECK_RCPT = acl_check_mail\n"));
        attempt(CLIENT, SENDER, USER).expect_accepted();
    });
}

/// SPF works with Debian's configuration too, and the daemon loads the library for all its children.
#[test]
fn stock_configuration_knows_a_pool_by_spf() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let networks = "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all";
        world.dns.spf("sender.test", networks);
        let exim = start(world, Layout::Split, &world.macros());
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        world.wait_for_log("by=spf", 1);
        let maps = fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
        assert!(maps.contains("eximgrey.so"), "the daemon has not loaded it");
    });
}

/// Somebody who has set the option that preloading needs keeps it: Exim before 4.100 refuses a configuration that sets it
/// twice, and the one before stays in force; then EXIMGREY_NO_PRELOAD leaves it to him, or EXIMGREY_PRELOAD takes its value over.
#[test]
fn limit_of_the_administrator_is_kept() {
    let limit = "smtp_accept_max_per_host = 1\n";
    // From 4.100 on the last one counts; `what_would_break_mail_is_refused` shows that enable sees it.
    if !exim_is_at_least(100) {
        in_own_world(move |world| {
            let _exim = start(world, Layout::Split, &world.macros());
            let before = fs::read(GENERATED_FILE).unwrap();
            let macros = format!("{ETC}/{}", Layout::Split.macros_file());
            fs::write(macros, world.macros() + limit).unwrap();
            let output = Command::new("update-exim4.conf").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("smtp_accept_max_per_host"), "{output:?}");
            assert_eq!(fs::read(GENERATED_FILE).unwrap(), before);
        });
    }
    for macros in [format!("EXIMGREY_NO_PRELOAD = yes\n{limit}"), "EXIMGREY_PRELOAD = 1\n".to_owned()] {
        in_own_world(move |world| {
            let _exim = start(world, Layout::Split, &(world.macros() + &macros));
            // From elsewhere: Exim counts a connection for a moment after it is over.
            attempt("192.0.2.7", SENDER, USER).expect_greylisted();
            let first = Client::connect(CLIENT);
            Client::greeted(CLIENT).1.expect(421);
            first.quit();
        });
    }
}

/// With Debian's own SPF check switched on, its result is used and not asked for again.
#[test]
fn stock_configuration_uses_the_result_of_its_own_spf_check() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let networks = "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all";
        world.dns.spf("sender.test", networks);
        let macros = world.macros() + "EXIMGREY_SPF = no\nCHECK_RCPT_SPF = yes\n";
        let _exim = start(world, Layout::Split, &macros);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        world.wait_for_log("by=spf", 1);
    });
}

fn expect_plain_exim(world: &World, layout: Layout, macros: &str) {
    let _exim = start(world, layout, macros);
    accepts_configuration();
    attempt(CLIENT, SENDER, USER).expect_accepted();
    attempt(CLIENT, "", USER).expect_accepted();
    attempt(CLIENT, SENDER, "nobody-here@example.org").expect(550);
}

/// Without the library, mail flows through Debian's configuration, and the log says so.
#[test]
fn stock_configuration_without_the_library_passes() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            fs::remove_file(world.library()).unwrap();
            expect_plain_exim(world, layout, &world.macros());
            world.wait_for_log("eximgrey: action=pass reason=error error=no-library", 2);
        });
    }
}

/// A drop-in that is left behind when the package is removed does nothing.
#[test]
fn drop_in_of_a_removed_package_does_nothing() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let macros = format!("EXIMGREY_DIR = {}\n", world.path("removed").display());
            expect_plain_exim(world, layout, &macros);
            assert_eq!(world.log_lines("eximgrey").len(), 0);
        });
    }
}

/// Debian's light daemon cannot load libraries: with the drop-in it works as if there were none.
///
/// Only the heavy daemon is at hand, so the fragments are read with its macro for the feature
/// replaced by one that no Exim defines.
#[test]
fn exim_without_dlfunc_ignores_the_fragments() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let fragments = world.path("exim-conf");
            copy_tree(Path::new(FRAGMENTS), &fragments);
            for entry in fs::read_dir(&fragments).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let text = fs::read_to_string(&path).unwrap();
                    fs::write(&path, text.replace("_HAVE_DLFUNC", "_HAVE_NONE")).unwrap();
                }
            }
            let macros = format!(
                "EXIMGREY_DIR = {}\nEXIMGREY_SO = {}\nEXIMGREY_PRELOAD = 0\n",
                fragments.display(),
                world.library().display()
            );
            expect_plain_exim(world, layout, &macros);
            assert_eq!(world.log_lines("eximgrey").len(), 0);
        });
    }
}

/// An administrator who uses the hook already keeps it, and includes the fragment in his own file.
#[test]
fn hook_file_of_the_administrator_is_kept() {
    in_own_world(|world| {
        let own = world.path("own_rcpt_acl");
        fs::write(
            &own,
            "  deny\n    senders = spam@sender.test\n    message = not from you\n\
             \x20 .include_if_exists EXIMGREY_DIR/rcpt.conf\n",
        )
        .unwrap();
        let hook = format!("CHECK_RCPT_LOCAL_ACL_FILE = {}\n", own.display());
        let _exim = start(world, Layout::Split, &(world.macros() + &hook));
        attempt(CLIENT, "spam@sender.test", USER).expect(550);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
    });
}

/// Recipes go into Debian's configuration by macros alone.
#[test]
fn stock_configuration_takes_recipes() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            fs::write(format!("{ETC}/eximgrey-opt-out"), "user@example.org:\n").unwrap();
            let data = world.path("own_data_acl");
            let files = format!(
                "  .include {FRAGMENTS}/data.conf\n  .include {FRAGMENTS}/recipes/sent.conf\n\
                 \x20 .include {FRAGMENTS}/recipes/spam-feedback.conf\n"
            );
            fs::write(&data, files).unwrap();
            let recipes = format!(
                ".include {FRAGMENTS}/recipes/dkim.conf\n.include {FRAGMENTS}/recipes/x-greylist.conf\n\
                 EXIMGREY_CHOICE = {FRAGMENTS}/recipes/opt-out.conf\nCHECK_DATA_LOCAL_ACL_FILE = {}\n",
                data.display()
            );
            let _exim = start(world, layout, &(world.macros() + &recipes));
            accepts_configuration();
            attempt(CLIENT, SENDER, USER).expect_accepted();
            fs::write(format!("{ETC}/eximgrey-opt-out"), "").unwrap();
            let mut client = Client::connect(CLIENT);
            for expected in [451, 250] {
                client.mail(SENDER);
                client.rcpt(USER).expect_accepted();
                client.data().expect(expected);
            }
            client.quit();
            world.wait_for_log("eximgrey: action=pass reason=retried", 1);
        });
    }
}
