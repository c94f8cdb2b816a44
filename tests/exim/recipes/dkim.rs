//! recipes/dkim.conf: a signing domain is an identity, from whatever network it comes.

use std::path::Path;
use std::process::Command;

use super::peer::Peer;
use super::{Place, SENDER, USER, include, put};
use crate::world::{FRAGMENTS, World, copy_tree, in_own_world};

pub const MESSAGE: &str = "From: alice@sender.test\nSubject: test\nMessage-ID: <1@sender.test>\n\ntext\n";

/// Makes a key, publishes it as that of `domain`, and yields the options of a transport that signs with it.
pub fn signer(world: &World, domain: &str) -> String {
    let key = world.path(&format!("{domain}.key"));
    let generated =
        Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("1024").output().expect("openssl");
    assert!(generated.status.success(), "{generated:?}");
    let public = Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).output().unwrap();
    let public = String::from_utf8(public.stdout).unwrap();
    let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
    world.dns.txt(&format!("s1._domainkey.{domain}"), &format!("v=DKIM1; k=rsa; p={public}"));
    std::os::unix::fs::chown(&key, Some(world.exim_user.0), None).unwrap();
    let key = key.display();
    format!("  dkim_domain = {domain}\n  dkim_selector = s1\n  dkim_private_key = {key}\n")
}

/// A pool that signs with its domain waits once, though its hosts have nothing else in common.
#[test]
fn signing_domain_passes_from_another_network() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("dkim"));
        let peer = Peer::new(world, "", &signer(world, "sender.test"));
        peer.send(SENDER, USER, MESSAGE);
        world.wait_for_log("eximgrey: action=defer reason=new", 1);
        peer.move_to("192.0.2.7");
        peer.retry();
        world.wait_for_log("eximgrey: action=pass reason=retried", 1);
        assert_eq!(world.log_lines("by=dkim").len(), 1, "{}", world.main_log());
        world.wait_for_log("<= alice@sender.test", 1);
    });
}

/// Without a signature the same pool starts anew: it is the signature that counts.
#[test]
fn unsigned_mail_from_another_network_starts_anew() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("dkim"));
        let peer = Peer::new(world, "", "");
        peer.send(SENDER, USER, MESSAGE);
        world.wait_for_log("reason=new", 1);
        peer.move_to("192.0.2.7");
        peer.retry();
        world.wait_for_log("reason=new", 2);
        peer.retry();
        world.wait_for_log("reason=retried", 1);
        assert_eq!(world.log_lines("by=network").len(), 1);
    });
}

/// A signature that does not verify is none: the key in DNS is another one.
#[test]
fn signature_that_fails_is_no_identity() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("dkim"));
        let options = signer(world, "sender.test");
        // Who signs has the key of somebody else.
        let other =
            signer(world, "other.test").replace("dkim_domain = other.test", "dkim_domain = sender.test");
        assert_ne!(options, other);
        let peer = Peer::new(world, "", &other);
        peer.send(SENDER, USER, MESSAGE);
        world.wait_for_log("reason=new", 1);
        peer.move_to("192.0.2.7");
        peer.retry();
        world.wait_for_log("reason=new", 2);
    });
}

/// Of several signatures that of the sender's own domain counts, not that of the provider it shares, in
/// whatever order they come.
#[test]
fn senders_own_signature_is_preferred() {
    for domains in ["provider.test : sender.test", "sender.test : provider.test"] {
        in_own_world(move |world| {
            let _exim = world.start_exim(&include("dkim"));
            let own = signer(world, "sender.test");
            signer(world, "provider.test");
            let both = own
                .replace("dkim_domain = sender.test", &format!("dkim_domain = {domains}"))
                .replace("sender.test.key", "${lc:$dkim_domain}.key");
            let peer = Peer::new(world, "", &both);
            peer.send(SENDER, USER, MESSAGE);
            world.wait_for_log("reason=new", 1);

            // From another network, and with the own signature alone: passes only if that one had counted.
            peer.configure("", &own);
            peer.move_to("192.0.2.7");
            peer.retry();
            world.wait_for_log("by=dkim", 1);
        });
    }
}

/// An administrator who has a DKIM ACL keeps it.
#[test]
fn own_dkim_acl_is_kept() {
    in_own_world(|world| {
        let main = "EXIMGREY_OWN_DKIM_ACL = yes\nacl_smtp_dkim = discard\n".to_owned() + &include("dkim");
        let _exim = world.start_exim(&main);
        let peer = Peer::new(world, "", &signer(world, "sender.test"));
        peer.send(SENDER, USER, MESSAGE);
        // As the test's ACL decides, before greylisting.
        world.wait_for_log("discard", 1);
        assert_eq!(world.log_lines("eximgrey").len(), 0);
    });
}

/// A daemon that still runs when the package has been removed lets signed mail pass.
#[test]
fn removed_package_lets_signed_mail_pass() {
    in_own_world(|world| {
        let fragments = world.path("exim-conf");
        copy_tree(Path::new(FRAGMENTS), &fragments);
        let main = include("dkim").replace(FRAGMENTS, fragments.to_str().unwrap());
        let _exim = world.start_exim(&format!("EXIMGREY_DIR == {}\n{main}", fragments.display()));
        std::fs::remove_dir_all(&fragments).unwrap();
        std::fs::remove_file(world.library()).unwrap();
        let peer = Peer::new(world, "", &signer(world, "sender.test"));
        peer.send(SENDER, USER, MESSAGE);
        world.wait_for_log("<= alice@sender.test", 1);
    });
}

/// Exim runs the DKIM ACL for mail, too, that rcpt.conf was not asked about: with strict variables it passes, also
/// where the content filter's recipe looks at it. Other mail waits.
#[test]
fn signed_mail_to_postmaster_passes_with_strict_variables() {
    for (feedback, signed) in [(false, true), (false, false), (true, true), (true, false)] {
        in_own_world(move |world| {
            std::fs::write(world.path("users"), "user\npostmaster\n").unwrap();
            let mut main = "strict_acl_vars = true\nEXIMGREY_JUNK = yes\n".to_owned()
                + &include("dkim")
                + &put(world, Place::BeforeRcpt, "accept local_parts = postmaster\n");
            if feedback {
                // There is room for no option then; the store is not where Exim looks.
                main += "EXIMGREY_OPTIONS ==\n";
                main += &put(world, Place::BeforeData, &include("spam-feedback"));
            }
            let _exim = world.start_exim(&main);
            let options = if signed { signer(world, "sender.test") } else { String::new() };
            let peer = Peer::new(world, "", &options);
            peer.send(SENDER, "postmaster@example.org", MESSAGE);
            world.wait_for_log("<= alice@sender.test", 1);
            if !feedback {
                peer.send(SENDER, USER, MESSAGE);
                world.wait_for_log("eximgrey: action=defer reason=new", 1);
            }
            assert_eq!(world.log_lines("unknown variable"), Vec::<String>::new());
        });
    }
}
