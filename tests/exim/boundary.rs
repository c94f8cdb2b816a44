//! What comes from outside goes nowhere: not into a reply, not into a user's command, and no argument
//! makes the library fall over.

use crate::smtp::{Client, attempt};
use crate::world::{Lacking, World, in_own_world, wait_until};

/// Expands `${dlfunc}` in a real Exim with `arguments`, which are given as Exim writes them: `{one}{two}`.
fn call(world: &World, function: &str, arguments: &str) -> String {
    let library = world.library();
    world.expand(&format!("${{dlfunc{{{}}}{{{function}}}{arguments}}}", library.display()))
}

fn with_configuration(world: &World, arguments: &str) -> String {
    let config = world.path("eximgrey.toml");
    format!("{arguments}{{config={}}}", config.display())
}

/// A world in which `exim4 -be` can be asked: the configuration is in place.
fn ready(world: &World) {
    drop(world.start_exim(""));
}

/// Commands of users, which deliveries run, do not inherit the store.
#[test]
fn pipe_command_inherits_no_descriptor_of_the_store() {
    in_own_world(|world| {
        // With deliver_drop_privilege the process that spoke SMTP forks and delivers without a new
        // start of Exim: only so do its descriptors get that far.
        let _exim = world.start_exim("DELIVER = yes\ndeliver_drop_privilege");
        attempt("198.51.100.7", "alice@sender.test", "piped@example.org").expect_greylisted();
        attempt("198.51.100.7", "alice@sender.test", "piped@example.org").expect_accepted();
        let listing = world.path("pipe/descriptors");
        let complete = || std::fs::read_to_string(&listing).is_ok_and(|text| text.ends_with("end\n"));
        wait_until(complete, || format!("the pipe command:\n{}", world.main_log()));
        let text = std::fs::read_to_string(&listing).unwrap();
        assert!(text.contains(" 0 -> "), "{text}");
        assert!(!text.contains(world.store().to_str().unwrap()), "{text}");
    });
}

/// What the library does in a real Exim, in the daemon that has preloaded it and in its children, is clean under valgrind.
/// What Exim and its other libraries do is not ours to judge.
#[test]
#[ignore = "takes a minute: make torture-memory"]
fn valgrind_finds_nothing_of_ours_in_exim() {
    in_own_world(|world| {
        let log = world.path("valgrind");
        let exim = world.start_exim_under_valgrind(&log);
        let sender = "list-bounces+user=example.org@lists.test";
        attempt("198.51.100.7", sender, "user@example.org").expect_greylisted();
        attempt("198.51.100.7", sender, "user@example.org").expect_accepted();
        attempt("198.51.100.7", sender, "user@example.org").expect_accepted();
        drop(exim);
        let found = std::fs::read_to_string(&log).expect("valgrind's log");
        let ours: Vec<&str> = found.split("== \n").filter(|part| part.contains("eximgrey")).collect();
        assert!(ours.is_empty(), "{}", ours.join("\n\n"));
    });
}

/// A sender's text gets into no file name by way of a reply: what is yielded stays tainted, as it is
/// without us, and the words of a reply are ours.
#[test]
fn reply_carries_nothing_from_outside() {
    if Lacking::Taint.said() {
        return;
    }
    in_own_world(|world| {
        for name in ["plain", "direct", "yielded"] {
            std::fs::write(world.path(name), "key: yes\n").unwrap();
        }
        let _exim = world.start_exim("acl_smtp_mail = acl_taint");
        for (sender, code) in [("plain", 250), ("direct", 451), ("yielded", 451)] {
            let mut client = Client::connect("198.51.100.7");
            let mail = format!("MAIL FROM:<{sender}@sender.test>");
            client.command(&mail).expect(code);
            client.quit();
        }
        world.wait_for_log("Tainted filename", 2);
        world.forget_panic_log();
        let replies = world.log_lines("reply: ");
        assert_eq!(replies.len(), 3);
        for reply in replies {
            let (_, reply) = reply.split_once("reply: ").unwrap();
            assert_is_made_of_our_words(reply);
        }
    });
}

/// A reply is `key=value` words of lower-case letters, digits and hyphens, and nothing else.
#[track_caller]
fn assert_is_made_of_our_words(reply: &str) {
    let keys = ["action", "reason", "wait", "delay", "by", "would", "error"];
    for word in reply.split(' ') {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        assert!(keys.contains(&key), "{word:?} in {reply:?}");
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        assert!(!value.is_empty() && value.bytes().all(plain), "{reply:?}");
    }
}

/// Any number of arguments is answered with a word.
#[test]
fn any_number_of_arguments_gets_a_word() {
    in_own_world(|world| {
        ready(world);
        for function in ["greylist", "greylist_peek"] {
            for count in [0, 1, 2, 8] {
                let text = call(world, function, &"{x}".repeat(count));
                assert_eq!(
                    text, "action=pass reason=error error=bad-option",
                    "{function}, {count} arguments"
                );
            }
        }
        // Seven are fine.
        let arguments = "{192.0.2.1}{a@sender.test}{b@example.org}{spf=}{host=}{match=}";
        let text = call(world, "greylist_peek", &with_configuration(world, arguments));
        assert_eq!(text, "action=defer reason=new wait=0");
    });
}

/// Text of any bytes and any length is answered with a word, wherever it stands.
#[test]
fn hostile_text_gets_a_word() {
    in_own_world(|world| {
        ready(world);
        let long = world.path("long");
        std::fs::write(&long, "x".repeat(1 << 20)).unwrap();
        let texts = [
            format!("${{readfile{{{}}}}}", long.display()),
            r"\n\r\t\x01\x7f\033[2J".to_owned(),
            r"\xff\xfe\xc3(\x80@\xff.test".to_owned(),
            r"%s%n%x\$\{\}".to_owned(),
            "=".to_owned(),
            "@".to_owned(),
            "\"a b\"@[IPv6:::1]".to_owned(),
            "999.999.999.999".to_owned(),
            "action=defer reason=new".to_owned(),
        ];
        for text in &texts {
            let arguments = [
                format!("{{{text}}}{{a@sender.test}}{{b@example.org}}"),
                format!("{{192.0.2.1}}{{{text}}}{{b@example.org}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{{text}}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{b@example.org}}{{spf={text}}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{b@example.org}}{{host={text}}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{b@example.org}}{{match={text}}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{b@example.org}}{{{text}}}"),
                format!("{{192.0.2.1}}{{a@sender.test}}{{b@example.org}}{{delay={text}}}"),
                format!("{{{text}}}{{{text}}}{{{text}}}{{spf={text}}}{{host={text}}}{{match={text}}}"),
            ];
            for arguments in arguments {
                for function in ["greylist_peek", "greylist"] {
                    let reply = call(world, function, &with_configuration(world, &arguments));
                    assert_is_made_of_our_words(&reply);
                }
            }
        }
    });
}

/// An address that is no IP address passes with an error word; a local submission passes as such.
#[test]
fn client_that_is_no_address_passes() {
    in_own_world(|world| {
        ready(world);
        let ask = |client: &str| {
            let arguments = format!("{{{client}}}{{a@sender.test}}{{b@example.org}}");
            call(world, "greylist", &with_configuration(world, &arguments))
        };
        assert_eq!(ask("client.test"), "action=pass reason=error error=bad-client");
        assert_eq!(ask(""), "action=pass reason=local");
    });
}
