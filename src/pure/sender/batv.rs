//! Bounce Address Tag Validation: a signature around the local part that changes every day.
//!
//! ```text
//! prvs=0123456789=alice      draft-levine-smtp-batv; also swapped, and old: prvs=alice/0123456789
//! btv1==123abc456def==alice  Barracuda
//! msprvs1=12345abcdef=alice  Momentum, SparkPost
//! ```
//!
//! It is the same mailbox, so the signature goes and the plain address stays.

use super::{Mailbox, Observer, Rule, slice, split_first, split_last};

/// Takes the signature off the local part; says whether there was one.
pub(super) fn unwrap(mailbox: &mut Mailbox, observer: &mut impl Observer) -> bool {
    let Some(core) = core(mailbox.local) else {
        return false;
    };
    let taken = if mailbox.local.ends_with(core) {
        slice(mailbox.local, 0..mailbox.local.len() - core.len())
    } else {
        mailbox.local
    };
    observer.step(Rule::Batv, taken);
    mailbox.local = core;
    true
}

fn core(local: &[u8]) -> Option<&[u8]> {
    let (scheme, signed) = split_first(local, b'=')?;
    let core = match scheme {
        b"prvs" => prvs(signed)?,
        // Newer schemes carry a version and put the signature first, whatever its alphabet.
        [b'b', b't', b'v', version] | [b'm', b's', b'p', b'r', b'v', b's', version]
            if version.is_ascii_digit() =>
        {
            let (signature, core) = split_first(signed.strip_prefix(b"=").unwrap_or(signed), b'=')?;
            (!signature.is_empty()).then_some(core.strip_prefix(b"=").unwrap_or(core))?
        }
        _ => return None,
    };
    (!core.is_empty()).then_some(core)
}

/// The signature may stand on either side; its look tells on which. The usual side is tried first.
fn prvs(signed: &[u8]) -> Option<&[u8]> {
    if let Some((first, rest)) = split_first(signed, b'=')
        && is_signature(first)
    {
        return Some(rest);
    }
    [b'=', b'/'].into_iter().find_map(|separator| {
        let (rest, last) = split_last(signed, separator)?;
        is_signature(last).then_some(rest)
    })
}

/// In the draft: a digit for the key, three for the day, six of a hash in hex. Some programs write another
/// length and hash the day too, so only the first digit is sure.
fn is_signature(text: &[u8]) -> bool {
    (8..=12).contains(&text.len())
        && text.iter().all(u8::is_ascii_alphanumeric)
        && text.first().is_some_and(u8::is_ascii_digit)
        && text.iter().filter(|byte| byte.is_ascii_digit()).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_left_alone, assert_table, key};
    use super::*;

    /// A signed address has the key of the plain one.
    #[test]
    fn signature_is_removed() {
        assert_table(
            Rule::Batv,
            &[
                ("prvs=0197a2d3df=alice@d.example", "alice@d.example"),
                ("prvs=64e5d0c72=alice@d.example", "alice@d.example"),
                ("prvs=alice1=0197a2d3df@d.example", "alice1@d.example"),
                ("prvs=alice/0197a2d3df@d.example", "alice@d.example"),
                ("prvs=0197a2d3df=a=b@d.example", "a=b@d.example"),
                ("btv1==9562b54e32b==ivan@d.example", "ivan@d.example"),
                ("msprvs1=17149tojLnHYq=bounces@d.example", "bounces@d.example"),
            ],
        );
        assert_eq!(key("prvs=0197a2d3df=x-bounces+a=b.example@d.example"), "x-bounces+\\*@d.example");
    }

    /// Without something that looks like a signature nothing is removed.
    #[test]
    fn what_is_not_signed_stays() {
        assert_left_alone(&[
            "prvs@d.example",
            "prvs=alice@d.example",
            "prvs=alice=bob@d.example",
            "prvs=0197a2=alice@d.example",
            "prvs=x197a2d3df=alice@d.example",
            "prvs=0abcdefghi=alice@d.example",
            "prvs=0197aaaaaaaab=bob@d.example",
            "prvs=0197-a2d3d=alice@d.example",
            "btv1=@d.example",
            "btvx==9562b==ivan@d.example",
            "btv1==a==@d.example",
        ]);
    }

    /// What was taken is told, on whichever side it was.
    #[test]
    fn explanation_names_the_signature() {
        let taken = |sender: &[u8]| {
            super::super::explain(sender, None, crate::sender::Level::Full).steps[0].taken.clone()
        };
        assert_eq!(taken(b"prvs=0197a2d3df=alice@d.example"), b"prvs=0197a2d3df=");
        assert_eq!(taken(b"prvs=alice=0197a2d3df@d.example"), b"prvs=alice=0197a2d3df");
    }
}
