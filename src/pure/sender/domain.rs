//! Domains: whether one is for bounces, and which of its labels name one machine of many.
//!
//! The registered name stays whole, so two names that strangers can register never get one key.

use super::bounce;
use super::segment::{CERTAIN, SLIGHT, whole};
use super::split_last;
use crate::identity::split_registered;

/// Whether a label before the registered name says so: `bounces.example.org`, `bnc3.mail.example.org`.
pub(super) fn is_for_bounces(domain: &[u8]) -> bool {
    // The registered name has two labels at least, and few others hold such a word: the list is rarely asked.
    let others = domain.rsplitn(3, |&byte| byte == b'.').nth(2).unwrap_or_default();
    let word = labels(others).find(|(label, _)| bounce::has_keyword(label));
    word.is_some_and(|(_, end)| end <= front(domain).len())
}

/// Whether a label before the registered name says that mail is sent by programs: `alerts.example.org`.
pub(super) fn is_for_notices(domain: &[u8]) -> bool {
    labels(front(domain)).any(|(label, _)| {
        matches!(
            label,
            b"alert" | b"alerts" | b"newsletter" | b"newsletters" | b"notification" | b"notifications"
        )
    })
}

/// How many bytes at the front of the domain go: up to the last label that names a machine.
///
/// Asked only where the local part was masked: `root@web01.example.org` is not `root@web02.example.org`.
pub(super) fn machine_part(domain: &[u8]) -> usize {
    let machines = labels(front(domain)).filter(|(label, _)| is_machine(label));
    machines.last().map_or(0, |(_, end)| end)
}

/// The labels, and the offset at which each ends.
fn labels(front: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut end = 0;
    front.split(|&byte| byte == b'.').map(move |label| {
        end += label.len() + 1;
        (label, end - 1)
    })
}

/// What stands before the registered name. Nothing where that name is not known, so all labels stay.
fn front(domain: &[u8]) -> &[u8] {
    split_registered(domain).map_or(b"", |(front, _)| front.as_bytes())
}

/// `mail176`, `atl81`, `bf01x`, `lsv-006`, or a random label. Labels with four digits or more are a customer's
/// (`em7419`), others with a hyphen a region's (`eu-west-1`): they stay.
fn is_machine(label: &[u8]) -> bool {
    let Some(segment) = whole(label) else {
        let numbered = split_last(label, b'-').filter(|(name, number)| {
            let digits = number.iter().all(u8::is_ascii_digit);
            name.iter().all(u8::is_ascii_alphabetic) && digits && (2..=3).contains(&number.len())
        });
        return numbered
            .is_some_and(|(name, _)| (1..=4).contains(&name.len()) && !bounce::has_keyword(label));
    };
    let leading = label.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let numbered = (1..=4).contains(&leading)
        && (1..=3).contains(&segment.digits)
        && label
            .last()
            .is_some_and(|last| last.is_ascii_digit() || usize::from(segment.letters) == leading + 1);
    let random = segment.evidence() >= CERTAIN
        || (segment.evidence() >= SLIGHT && segment.digits < 4 && segment.letters > 3);
    (numbered || random) && !bounce::has_keyword(label)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_left_alone, key};
    use super::super::{Rule, explain};

    fn domain_of(domain: &str) -> String {
        key(&format!("bounces-123456@{domain}")).split_off("bounces-\\*@".len())
    }

    /// The name of one machine of many goes, with what is left of it.
    #[test]
    fn machines_go() {
        assert_eq!(domain_of("mail176.atl81.d.example"), "\\*.d.example");
        assert_eq!(domain_of("bf01x.d.example"), "\\*.d.example");
        assert_eq!(domain_of("smtp3.d.co.uk"), "\\*.d.co.uk");
        assert_eq!(domain_of("smtp3.abc.de"), "\\*.abc.de");
        assert_eq!(domain_of("mx1.acme.asso.fr"), "\\*.acme.asso.fr");
        assert_eq!(domain_of("9zl9rqqynj26muz9.eu.d.example"), "\\*.eu.d.example");
        assert_eq!(domain_of("ft65pmx.d.example"), "\\*.d.example");
        assert_eq!(domain_of("lsv-006.d.example"), "\\*.d.example");
        let told = explain(b"bounces-123456@mail1.d.example", None, crate::sender::Level::Full);
        assert_eq!(told.steps.last().map(|step| step.rule), Some(Rule::Machine));
    }

    /// Registered names, regions, customers, and words stay.
    #[test]
    fn names_stay() {
        for domain in [
            "mail1.example",
            "[192.0.2.1]",
            "[ipv6:2001:db8::192.0.2.1]",
            "mx1..example",
            "mx1.b\u{fc}cher.example",
            "eu-west-1.d.example",
            "eu-1.d.example",
            "bnc-12.d.example",
            "em7419.d.example",
            "a3331929.d.example",
            "bnc3.d.example",
            "tenant1.d.example",
            "mail.d.example",
        ] {
            assert_eq!(domain_of(domain), super::super::Printable(domain.as_bytes()).to_string());
        }
    }

    /// Two names that strangers can register share no key, whatever they look like.
    #[test]
    fn registered_names_stay() {
        for suffix in [
            "co.uk",
            "asso.fr",
            "gouv.fr",
            "info.pl",
            "github.io",
            "herokuapp.com",
            "blogspot.com",
            "saiwai.kawasaki.jp",
            "azurewebsites.net",
        ] {
            for name in ["acme1", "mail176", "9zl9rqqynj26muz9"] {
                let domain = format!("{name}.{suffix}");
                assert_eq!(domain_of(&domain), domain);
                assert_eq!(domain_of(&format!("mx1.{domain}")), format!("\\*.{domain}"));
            }
            // A name that sounds like bounces does not say that its mailboxes are for them.
            assert_left_alone(&[&format!("b-123456@bounces.{suffix}")]);
            assert_eq!(
                key(&format!("b-123456@bounces.acme.{suffix}")),
                format!("b-\\*@bounces.acme.{suffix}")
            );
        }
    }

    /// Where the sender is a plain name, the machine tells it from others.
    #[test]
    fn plain_sender_keeps_its_machine() {
        assert_eq!(key("root@web01.d.example"), "root@web01.d.example");
        assert_eq!(key("prvs=0123456789=root@web01.d.example"), "root@web01.d.example");
    }
}
