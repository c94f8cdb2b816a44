//! Whose mail never waits: clients with a certificate, recipients who opted out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer::Peer;
use super::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{ETC, Lacking, World, in_own_world};

const MESSAGE: &str = "From: alice@sender.test\nSubject: test\n\ntext\n";

fn openssl(world: &World, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(world.path("")).args(arguments.split(' '));
    let output = openssl.output().expect("run openssl: see scripts/setup");
    assert!(output.status.success(), "{openssl:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Certificates: NAME.pem and NAME.key in the test's directory, signed by `authority` or by itself.
fn certificate(world: &World, name: &str, authority: Option<&str>) {
    let subject = format!("req -newkey rsa:2048 -nodes -keyout {name}.key -subj /CN={name}.test");
    match authority {
        None => openssl(world, &format!("{subject} -x509 -days 30 -out {name}.pem")),
        Some(authority) => {
            openssl(world, &format!("{subject} -out {name}.csr"));
            openssl(
                world,
                &format!(
                    "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
                     -days 30 -out {name}.pem"
                ),
            );
        }
    }
    let key = world.path(&format!("{name}.key"));
    std::os::unix::fs::chown(key, Some(world.exim_user.0), Some(world.exim_user.1)).unwrap();
}

fn with_tls(world: &World) -> String {
    certificate(world, "server", None);
    certificate(world, "authority", None);
    let file = |name: &str| world.path(name).display().to_string();
    format!(
        "OFFER_TLS = yes\ntls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n\
         tls_try_verify_hosts = *\ntls_verify_certificates = {}\n",
        file("server.pem"),
        file("server.key"),
        file("authority.pem")
    ) + &put(world, Place::Choice, &include("tls-certificate"))
}

/// What a peer sends to us, over TLS, with the certificate `name` if any.
fn send_with_certificate(world: &World, name: Option<&str>, sender: &str) {
    let file = |name: String| world.path(&name).display().to_string();
    let certificate = name.map(|name| {
        let (pem, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
        format!("  tls_certificate = {pem}\n  tls_privatekey = {key}\n")
    });
    let transport = "  hosts_require_tls = *\n  tls_tempfail_tryclear = false\n  tls_verify_certificates =\n"
        .to_owned()
        + &certificate.unwrap_or_default();
    let peer = Peer::new(world, "", &transport);
    peer.send(sender, USER, MESSAGE);
}

/// Mail of a client whose certificate is signed by our partners' authority passes at once.
#[test]
fn verified_certificate_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim(&with_tls(world));
        certificate(world, "partner", Some("authority"));
        send_with_certificate(world, Some("partner"), SENDER);
        world.wait_for_log("<= alice@sender.test", 1);
        assert_eq!(world.log_lines("eximgrey").len(), 0);
    });
}

/// So does a bounce of such a client.
#[test]
fn verified_certificate_passes_with_the_null_sender() {
    in_own_world(|world| {
        let _exim = world.start_exim(&with_tls(world));
        certificate(world, "partner", Some("authority"));
        send_with_certificate(world, Some("partner"), "<>");
        world.wait_for_log("<= <>", 1);
        assert_eq!(world.log_lines("eximgrey").len(), 0);
    });
}

/// A certificate that somebody made for himself is worth nothing, and neither is TLS without one.
#[test]
fn certificate_of_ones_own_waits() {
    for name in [Some("impostor"), None] {
        in_own_world(move |world| {
            let _exim = world.start_exim(&with_tls(world));
            certificate(world, "impostor", None);
            send_with_certificate(world, name, SENDER);
            world.wait_for_log("eximgrey: action=defer reason=new", 1);
            assert!(world.log_lines("reason=new")[0].contains("X=TLS"), "{}", world.main_log());
        });
    }
}

/// Where the recipe looks by default: the test has its own /etc/exim4.
fn opt_out_file() -> PathBuf {
    Path::new(ETC).join("eximgrey-opt-out")
}

/// Who opted out gets his mail at once, bounces included; the other recipient of the same message waits.
#[test]
fn recipient_who_opted_out_gets_mail_at_once() {
    in_own_world(|world| {
        let main = put(world, Place::Choice, &include("opt-out"));
        fs::write(opt_out_file(), "user@example.org:\n").unwrap();
        let _exim = world.start_exim(&main);
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.rcpt(OTHER).expect_greylisted();
        // And it holds for the one it was looked up for, not for the next one.
        client.rcpt("User@Example.ORG").expect_accepted();
        client.data().expect_accepted();
        client.quit();
        attempt(CLIENT, "", USER).expect_accepted();
        attempt(CLIENT, "", OTHER).expect_greylisted();
    });
}

/// A whole domain may opt out, and with at-data.conf it does so too.
#[test]
fn domain_may_opt_out() {
    for more in ["", "at-data"] {
        in_own_world(move |world| {
            let main = put(world, Place::Choice, &include("opt-out"));
            let main = if more.is_empty() { main } else { main + &include(more) };
            let _exim = world.start_exim(&main);
            attempt(CLIENT, "bob@sender.test", USER).expect_greylisted();
            fs::write(opt_out_file(), "*@example.org:\n").unwrap();
            attempt(CLIENT, SENDER, USER).expect_accepted();
            attempt(CLIENT, SENDER, OTHER).expect_accepted();
            attempt(CLIENT, "", USER).expect_accepted();
        });
    }
}

/// Any look-up will do: here that of the recipe's comment, turned round into opting in.
#[test]
fn opting_in_is_another_lookup() {
    if Lacking::SqliteFile.said() {
        return;
    }
    in_own_world(|world| {
        let database = world.path("pipe/users.db").display().to_string();
        let lookup = |query: &str| format!("${{lookup sqlite,file={database} {{{query}}}}}");
        let condition = "greylisted=0 and address='${quote_sqlite:$local_part@$domain}'";
        let main =
            format!("EXIMGREY_OPT_OUT = {}\n", lookup(&format!("select '*' from users where {condition}")));
        let _exim = world.start_exim(&(main + &put(world, Place::Choice, &include("opt-out"))));
        world.expand(&lookup("create table users (address text, greylisted int)"));
        world.expand(&lookup(&format!("insert into users values ('{USER}', 1), ('{OTHER}', 0)")));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
    });
}

/// A table that cannot be read opts nobody out, and gives nobody a 451 that would not end.
#[test]
fn table_that_cannot_be_read_opts_nobody_out() {
    in_own_world(|world| {
        let main = put(world, Place::Choice, &include("opt-out"));
        fs::create_dir(opt_out_file()).unwrap();
        let _exim = world.start_exim(&main);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert!(world.panic_log().contains("opt-out"), "{}", world.panic_log());
        world.forget_panic_log();
    });
}
