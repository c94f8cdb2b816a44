//! Domains: whether one is for bounces, and which of its labels name one machine of many.
//!
//! The last two labels always stay, or three under a public suffix like `co.uk`: no list of suffixes is
//! needed for that, and a name that a stranger can register never merges with another.

use super::bounce;
use super::segment::{CERTAIN, SLIGHT, whole};

/// Whether a label left of the registered name says so: `bounces.example.org`, `bnc3.mail.example.org`.
pub(super) fn is_for_bounces(domain: &[u8]) -> bool {
    labels(front(domain)).any(|(label, _)| bounce::has_keyword(label))
}

/// The length of the front of the domain up to the last label that names a machine; 0 if none does.
///
/// Asked only where the local part was masked: `root@web01.example.org` is not `root@web02.example.org`.
pub(super) fn machine_part(domain: &[u8]) -> usize {
    let machines = labels(front(domain)).filter(|(label, _)| is_machine(label));
    machines.last().map_or(0, |(_, end)| end)
}

/// The labels with the offset where each ends.
fn labels(front: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut end = 0;
    front.split(|&byte| byte == b'.').map(move |label| {
        end += label.len() + 1;
        (label, end - 1)
    })
}

/// What is left of the registered name; empty for an address literal.
fn front(domain: &[u8]) -> &[u8] {
    if domain.starts_with(b"[") {
        return b"";
    }
    let mut labels = domain.rsplit(|&byte| byte == b'.');
    let (top, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let mut registered = top.len() + second.len() + 1;
    // A country and a short name under it: `co.uk`, `com.br`, `ac.jp`.
    if top.len() == 2 && second.len() <= 3 {
        registered += labels.next().map_or(0, <[u8]>::len) + 1;
    }
    super::slice(domain, 0..domain.len().saturating_sub(registered + 1))
}

/// `mail176`, `atl81`, `bf01x`, or a random label. Four digits and more number a customer (`em7419`), a hyphen
/// a region (`eu-west-1`): these stay.
fn is_machine(label: &[u8]) -> bool {
    let Some(segment) = whole(label) else {
        return false;
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
    use super::super::tests::key;
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
        assert_eq!(domain_of("9zl9rqqynj26muz9.eu.d.example"), "\\*.eu.d.example");
        assert_eq!(domain_of("ft65pmx.d.example"), "\\*.d.example");
        let told = explain(b"bounces-123456@mail1.d.example", None, crate::sender::Level::Full);
        assert_eq!(told.steps.last().map(|step| step.rule), Some(Rule::Machine));
    }

    /// Registered names, regions, customers, and words stay.
    #[test]
    fn names_stay() {
        for domain in [
            "mail1.example",
            "acme1.co.uk",
            "[192.0.2.1]",
            "eu-west-1.d.example",
            "em7419.d.example",
            "a3331929.d.example",
            "bnc3.d.example",
            "tenant1.d.example",
            "mail.d.example",
        ] {
            assert_eq!(domain_of(domain), domain);
        }
    }

    /// Where the sender is a plain name, the machine tells it from others.
    #[test]
    fn plain_sender_keeps_its_machine() {
        assert_eq!(key("root@web01.d.example"), "root@web01.d.example");
        assert_eq!(key("prvs=0123456789=root@web01.d.example"), "root@web01.d.example");
    }
}
