//! What holds for every recipe: mail passes when the library is out of order, and all get along.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{CLIENT, Place, RECIPES, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{EXIM, FRAGMENTS, SHIPPED, World, copy_tree, in_own_world};

const POSTMASTER: &str = "postmaster@example.org";

/// The lines that put `recipes` where they belong.
fn install(world: &World, recipes: &[&str]) -> String {
    let places = [Place::Main, Place::Choice, Place::BeforeData, Place::AfterData];
    let text = |place| {
        let here = RECIPES.iter().filter(|(name, at)| *at == place && recipes.contains(name));
        here.map(|(name, _)| include(name)).collect::<String>()
    };
    let used = places.map(|place| (place, text(place))).into_iter().filter(|(_, text)| !text.is_empty());
    used.map(|(place, text)| put(world, place, &text)).collect()
}

/// A trap and an opt-out of the tests' own: neither is the recipient used here.
fn write_tables() {
    fs::write("/etc/exim4/eximgrey-traps", "trap@example.org:\n").unwrap();
    fs::write("/etc/exim4/eximgrey-opt-out", "other@example.org:\n").unwrap();
}

/// The table of these tests has every file that is shipped.
#[test]
fn every_recipe_is_tested() {
    let shipped = fs::read_dir(format!("{SHIPPED}/recipes")).unwrap();
    let names = shipped.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let shipped: BTreeSet<_> =
        names.filter_map(|name| Some(name.strip_suffix(".conf")?.to_owned())).collect();
    let tested = RECIPES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(shipped, tested);
}

/// Mail of all kinds gets through at the first attempt: to a trap too, which is an address like others here.
fn expect_mail_flows(world: &World) {
    fs::write(world.path("users"), "user\nother\ntrap\n").unwrap();
    for recipient in [USER, "other@example.org", "trap@example.org"] {
        attempt(CLIENT, SENDER, recipient).expect_accepted();
        attempt(CLIENT, "", recipient).expect_accepted();
        attempt("192.0.2.99", SENDER, recipient).expect_accepted();
    }
    attempt(CLIENT, SENDER, "nobody@example.org").expect(550);
}

/// Each recipe by itself: the library is not there, and nobody notices but the log.
#[test]
fn missing_library_passes_with_each_recipe() {
    for (name, _) in RECIPES {
        in_own_world(move |world| {
            write_tables();
            fs::remove_file(world.library()).unwrap();
            let main = junk_for_all() + &install(world, &[name]);
            let _exim = world.start_exim(&main);
            expect_mail_flows(world);
            world.wait_for_log("eximgrey: action=pass reason=error error=no-library", 1);
        });
    }
}

/// Each recipe by itself: the library is there and does not load. Local programs' mail flows as well.
#[test]
fn broken_library_passes_with_each_recipe() {
    for (name, _) in RECIPES {
        in_own_world(move |world| {
            write_tables();
            fs::write(world.library(), "\x7fELF").unwrap();
            let main = junk_for_all() + "acl_not_smtp = acl_check_data\n" + &install(world, &[name]);
            let _exim = world.start_exim(&main);
            expect_mail_flows(world);
            super::sent::submit_locally("user@example.org", "alice@sender.test", "Subject: x\n\nx\n");
            world.wait_for_log("<= user@example.org", 1);
            assert!(world.panic_log().contains("file too short"), "{}", world.panic_log());
            world.forget_panic_log();
        });
    }
}

/// Every message is junk, so that the recipe has something to report.
fn junk_for_all() -> String {
    "EXIMGREY_JUNK = yes\n".to_owned()
}

/// The store is out of order: mail passes with all recipes in place.
#[test]
fn broken_store_passes_with_all_recipes() {
    in_own_world(|world| {
        write_tables();
        fs::remove_dir_all(world.store()).unwrap();
        let main = junk_for_all() + "EXIMGREY_SUSPICION = 0\n" + &install(world, &all());
        let _exim = world.start_exim(&main);
        expect_mail_flows(world);
        world.wait_for_log("eximgrey: action=pass reason=error error=store-open", 1);
    });
}

fn all() -> Vec<&'static str> {
    // Those two and the test's own `config=` are too many arguments together; the comment says so.
    RECIPES.iter().map(|(name, _)| *name).filter(|name| *name != "dkim").collect()
}

/// All recipes together, where every ACL variable has to be set before it is read: mail waits and passes.
#[test]
fn recipes_get_along() {
    in_own_world(|world| {
        write_tables();
        let main = "strict_acl_vars\nEXIMGREY_SUSPICION = 1\nEXIMGREY_DNSBL =\n".to_owned()
            + &install(world, &all());
        let _exim = world.start_exim(&main);
        for sender in [SENDER, ""] {
            attempt(CLIENT, sender, USER).expect_greylisted();
            attempt(CLIENT, sender, USER).expect_accepted();
            attempt(CLIENT, sender, USER).expect_accepted();
            attempt(CLIENT, sender, "other@example.org").expect_accepted();
            attempt("192.0.2.99", sender, USER).expect_accepted();
        }
        assert_eq!(world.log_lines("reason=error").len(), 0, "{}", world.main_log());
    });
}

/// What becomes of a message.
fn deliver(client: &mut Client, sender: &str, recipients: &[&str]) -> u16 {
    client.command("RSET").expect(250);
    client.mail(sender);
    let replies = recipients.iter().map(|recipient| client.rcpt(recipient));
    let accepted = replies.filter(|reply| reply.code == 250).count();
    if accepted == 0 { 451 } else { client.data().code }
}

/// Every ACL variable has to be set before it is read: not one is read that no statement has set, whoever sends to whom,
/// and whoever of the recipients is accepted above rcpt.conf: postmaster is, as in Debian's configuration. With each recipe
/// by itself, with none and with all.
#[test]
fn no_variable_is_read_before_it_is_set() {
    let recipes = RECIPES.iter().map(|(name, _)| vec![*name]).chain([vec![], all()]);
    for recipes in recipes {
        in_own_world(move |world| {
            write_tables();
            fs::write(world.path("users"), "user\nother\npostmaster\n").unwrap();
            let main = "strict_acl_vars = true\nacl_not_smtp = acl_check_data\n\
                        EXIMGREY_SUSPICION = 1\nEXIMGREY_DNSBL =\n"
                .to_owned()
                + &junk_for_all()
                + &put(world, Place::BeforeRcpt, "accept local_parts = postmaster\n")
                + &install(world, &recipes);
            let _exim = world.start_exim(&main);
            for sender in [SENDER, ""] {
                let mut own = Client::connect(CLIENT);
                // base64 of NUL user NUL secret
                own.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
                for recipient in [USER, POSTMASTER] {
                    own.mail(sender);
                    own.rcpt(recipient).expect_accepted();
                    own.data().expect_accepted();
                    attempt("192.0.2.99", sender, recipient).expect_accepted();
                }
                own.quit();
                for recipients in [vec![POSTMASTER], vec![USER], vec![POSTMASTER, USER]] {
                    let mut stranger = Client::connect(CLIENT);
                    let replies = [0; 2].map(|_| deliver(&mut stranger, sender, &recipients));
                    stranger.quit();
                    // Mail to both is known by then, but for what was junk, which begins anew.
                    let waits = recipients == [USER];
                    let as_it_should = if waits { replies == [451, 250] } else { replies.contains(&250) };
                    assert!(as_it_should, "{recipes:?} {recipients:?} {replies:?}: {}", world.main_log());
                }
            }
            super::sent::submit_locally(USER, SENDER, "Subject: x\n\nx\n");
            super::sent::submit_locally("<>", SENDER, "Subject: x\n\nx\n");
            for trouble in ["reason=error", "unknown variable", "condition test"] {
                assert_eq!(world.log_lines(trouble), Vec::<String>::new(), "{recipes:?}");
            }
        });
    }
}

/// An Exim that cannot load libraries takes the recipes without complaint, and does not greylist.
///
/// Only the heavy daemon is at hand, so its macro for the feature is replaced by one that no Exim defines.
#[test]
fn exim_without_dlfunc_takes_each_recipe() {
    in_own_world(|world| {
        write_tables();
        let fragments = world.path("exim-conf");
        copy_tree(Path::new(FRAGMENTS), &fragments);
        for directory in [fragments.clone(), fragments.join("recipes")] {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let text = fs::read_to_string(&path).unwrap();
                    fs::write(&path, text.replace("_HAVE_DLFUNC", "_HAVE_NONE")).unwrap();
                }
            }
        }
        let main = install(world, &RECIPES.map(|(name, _)| name));
        for name in ["EXIMGREY_CHOICE", "BEFORE_DATA", "AFTER_DATA"] {
            let file = world.path(name);
            let text = fs::read_to_string(&file).unwrap();
            fs::write(file, text.replace(FRAGMENTS, fragments.to_str().unwrap())).unwrap();
        }
        let main = main.replace(FRAGMENTS, fragments.to_str().unwrap())
            + &format!("EXIMGREY_DIR == {}\n", fragments.display());
        let _exim = world.start_exim(&main);
        expect_mail_flows(world);
        assert_eq!(world.log_lines("eximgrey").len(), 0);
        let output = std::process::Command::new(EXIM).arg("-bV").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}
