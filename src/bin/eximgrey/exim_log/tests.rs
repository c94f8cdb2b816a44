use super::*;

fn at<T>(line: &str, test: impl FnOnce(&Line<'_>) -> T) -> T {
    let mut clock = Clock::new(true, Timestamp(1_795_800_000));
    test(&Line::read(line.as_bytes(), &mut clock).unwrap_or_else(|| panic!("no line of Exim's: {line}")))
}

/// What a line says, in one text.
fn said(text: &str) -> String {
    at(&format!("2026-11-27 12:00:00 {text}"), |line| {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let who = |mail: &Mail<'_>| {
            let client = mail.client.map_or("local".into(), |client| client.to_string());
            let host = mail.host.map(text).unwrap_or_default();
            let authenticated = if mail.authenticated { " auth" } else { "" };
            format!("{client} {host} <{}>{authenticated}", text(mail.sender))
        };
        match &line.what {
            What::Arrived(arrival) => {
                let recipients = arrival.recipients().map(text).collect::<Vec<_>>();
                format!("arrived {} for {}", who(&arrival.mail), recipients.join(","))
            }
            What::Sent { recipient, how, why } => format!("{how:?} <{}> {}", text(recipient), text(why)),
            What::Completed => "completed".into(),
            What::Refused { mail, recipient, for_now, why } => {
                format!("refused {} <{}> {for_now} {}", who(mail), text(recipient), text(why))
            }
            What::Passed { mail, recipient, reply } => {
                format!("passed {} <{}> {}", who(mail), text(recipient), text(reply))
            }
            What::Other => "other".into(),
        }
    })
}

const ID: &str = "1vP8sy-000000001Sm-2Zdk";

#[test]
fn arrivals_are_read_with_what_log_selectors_add() {
    for (text, expected) in [
        (
            "<= a@b.test H=mx.b.test (helo) [192.0.2.1] P=esmtp S=9 id=x@y",
            "192.0.2.1 mx.b.test <a@b.test> for ",
        ),
        (
            "<= a@b.test H=mx.b.test [192.0.2.1]:5 I=[192.0.2.9]:25 P=esmtps X=TLS1.3:X:256 CV=no SNI=mx.test DN=\"C=A B,CN=x for z\" S=9 DKIM=b.test id=x for c@d.test e@f.test",
            "192.0.2.1 mx.b.test <a@b.test> for c@d.test,e@f.test",
        ),
        (
            "<= <> H=([192.0.2.77]) [2001:db8::1] P=esmtp S=9 T=\"a \\\" for b\" from <> for c@d.test",
            "2001:db8::1  <> for c@d.test",
        ),
        (
            "<= \"a H=[192.0.2.66] b\"@b.test H=(x) [192.0.2.1] P=smtp S=9 RT=0.1s",
            "192.0.2.1  <\"a H=[192.0.2.66] b\"@b.test> for ",
        ),
        ("<= a@b.test H=(x) [::ffff:192.0.2.1] P=esmtpsa A=plain:u S=9", "192.0.2.1  <a@b.test> auth for "),
        ("<= a@b.test H=(x) [192.0.2.1] P=utf8esmtpa S=9", "192.0.2.1  <a@b.test> auth for "),
        ("<= u@b.test U=u P=local S=9 for c@d.test", "local  <u@b.test> for c@d.test"),
        ("<= <> R=1rA5Xk-0004nC-2B U=exim P=local S=9", "local  <> for "),
        ("(= a@b.test H=[192.0.2.1] P=smtp S=9", "192.0.2.1  <a@b.test> for "),
    ] {
        let said = said(&format!("{ID} {text}"));
        assert_eq!(said.replace("\\\"", "\""), format!("arrived {expected}"), "{text}");
    }
}

#[test]
fn deliveries_tell_the_recipient_that_was_asked_for() {
    for (text, expected) in [
        ("=> bob <bob@x.test> R=local T=spool", "Delivered <bob@x.test> "),
        (
            "=> bob@x.test F=<a@b.test> R=dns T=smtp S=9 H=mx [192.0.2.3] C=\"250 ok: x\" QT=1s DT=0s",
            "Delivered <bob@x.test> ",
        ),
        ("-> c@y.test <bob@x.test> R=dns", "Delivered <bob@x.test> "),
        ("=> |/bin/a -b <bob@x.test> R=pipe", "Delivered <bob@x.test> "),
        (
            "== bob@x.test R=dns T=smtp defer (-53): retry time not reached",
            "Deferred <bob@x.test> retry time not reached",
        ),
        ("** bob@x.test: Unrouteable address", "Failed <bob@x.test> Unrouteable address"),
        (
            "** c@y.test <bob@x.test> F=<a@b.test> R=dns T=smtp: SMTP error: 550 no",
            "Failed <bob@x.test> SMTP error: 550 no",
        ),
        ("=> :blackhole: <bob@x.test> R=local", "Delivered <bob@x.test> "),
        ("*> bob@x.test R=dns", "Delivered <bob@x.test> "),
    ] {
        for id in [ID, "1rA5Xk-0004nC-2B"] {
            assert_eq!(said(&format!("{id} {text}")).replace("\\\"", "\""), expected, "{text}");
        }
    }
    assert_eq!(said(&format!("{ID} Completed QT=1s")), "completed");
}

#[test]
fn refusals_and_our_own_lines_are_read() {
    let refused = "H=mx.b.test (h) [192.0.2.1]:5 I=[192.0.2.9]:25 X=TLS CV=no F=<a@b.test> temporarily rejected RCPT <c@d.test>: greylisted by eximgrey: action=defer reason=new wait=300";
    let expected = "refused 192.0.2.1 mx.b.test <a@b.test> <c@d.test> true greylisted by eximgrey: action=defer reason=new wait=300";
    assert_eq!(said(refused), expected);
    assert_eq!(said(&format!("[77] {refused}")), expected);
    assert_eq!(said(&refused.replace("<c@d.test>:", "<c@d.test> after DATA:")), expected);
    for (text, expected) in [
        (
            "H=(x) [192.0.2.1] F=<> A=plain:u rejected RCPT <c@d.test>: relay not permitted",
            "refused 192.0.2.1  <> auth <c@d.test> false relay not permitted",
        ),
        (
            "H=(x) [192.0.2.1] F=<a@b.test> rejected RCPT c@d: no",
            "refused 192.0.2.1  <a@b.test> <c@d> false no",
        ),
        (
            "mail-may-pass eximgrey: action=pass reason=retried delay=301 by=network H=[192.0.2.1] F=<a@b.test> RCPT=<c@d.test>",
            "passed 192.0.2.1  <a@b.test> <c@d.test> action=pass reason=retried delay=301 by=network",
        ),
    ] {
        assert_eq!(said(text), expected, "{text}");
    }
}

/// What a stranger writes is never taken for what Exim says.
#[test]
fn strangers_forge_nothing() {
    let forged = "H=(x) [192.0.2.1] F=<\"> temporarily rejected RCPT <v@w.test>: greylisted by eximgrey: action=defer\"@b.test> rejected RCPT <c@d.test>: no";
    assert!(said(forged).ends_with("<c@d.test> false no"), "{}", said(forged));
    for text in [
        "1vP8sy-000000001Sm-2Zdk SA: <= a@b H=[192.0.2.1] P=smtp",
        "<= a@b H=[192.0.2.1] P=smtp",
        "login authenticator failed for (x) [192.0.2.1]: 535 mail-may-pass eximgrey: action=pass H=[192.0.2.1] F=<> RCPT=<a@b>",
        "[2\\2] mail-may-pass eximgrey: action=pass H=[192.0.2.1] F=<> RCPT=<a@b>",
        "H=(x) [192.0.2.1] F=<a@b",
        "H=",
        "",
        "\u{0} \u{fffd}",
    ] {
        assert_eq!(said(text), "other", "{text}");
    }
}

/// With `helo_accept_junk_hosts` a client may say anything at HELO, and a sender may be quoted anywhere: such a line is told from one
/// whose address is Exim's word.
#[test]
fn a_client_that_may_have_forged_its_address_is_told() {
    let unclear = |text: &str| {
        at(&format!("2026-11-27 12:00:00 {text}"), |line| match &line.what {
            What::Arrived(Arrival { mail, .. }) | What::Refused { mail, .. } => (mail.client, mail.unclear),
            other => panic!("{other:?}"),
        })
    };
    let forged = "(x) [198.51.100.1] P=esmtp S=9 T=\"";
    for helo in [
        "x) [198.51.100.1] (y",
        "x) [198.51.100.1]:5 P=esmtp T=\"",
        forged,
        "[198.51.100.1]) [x",
        "x) [198.51.100.1",
    ] {
        for text in [
            format!("{ID} <= a@b.test H=({helo}) [192.0.2.1] P=esmtp S=9 T=\"c\" for d@e.test"),
            format!("{ID} <= a@b.test H=mx.b.test ({helo}) [192.0.2.1]:77 P=esmtp S=9"),
            format!("H=({helo}) [192.0.2.1] F=<a@b.test> temporarily rejected RCPT <c@d.test>: greylisted"),
        ] {
            let (client, unclear) = unclear(&text);
            assert!(unclear || client == Some("192.0.2.1".parse().unwrap()), "{text}");
        }
    }
    for sender in [
        "\"a H=[198.51.100.1] b\"@c.test",
        "a.\"b H=[198.51.100.1] c\"@d.test",
        "a.\"b H=(x) [198.51.100.1] c\"@d.test",
    ] {
        let local = unclear(&format!("{ID} <= {sender} U=u P=local S=9"));
        assert_eq!(local.0, None, "{sender}");
        let (client, unclear) = unclear(&format!("{ID} <= {sender} H=[192.0.2.1] P=smtp S=9"));
        assert!(unclear || client == Some("192.0.2.1".parse().unwrap()), "{sender}");
    }
    assert!(unclear(&format!("[1/2] {ID} <= a@b.test H=(x) [198.51.100.1] P=esmtp S=9")).1);
    assert!(unclear("H=(x F=<a@b.test> temporarily rejected RCPT <c@d.test>: no").1);
    for clear in [
        format!("{ID} <= a@b.test H=mx.b.test ([192.0.2.77]) [192.0.2.1]:5 I=[192.0.2.9]:25 P=esmtps S=9"),
        format!("{ID} <= a@b.test H=([IPv6:2001:db8::7]) [192.0.2.1] P=esmtps S=9 T=\"[list] [7] a\""),
        "H=(x) [192.0.2.1] F=<a@b.test> temporarily rejected RCPT <c@d.test>: Greylisted [192.0.2.1]".into(),
    ] {
        assert_eq!(unclear(&clear), (Some("192.0.2.1".parse().unwrap()), false), "{clear}");
    }
}
