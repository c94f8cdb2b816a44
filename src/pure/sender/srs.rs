//! The Sender Rewriting Scheme: a forwarder puts its own domain on mail, with the sender inside.
//!
//! ```text
//! SRS0=hash=day=domain=user@forwarder           "=" behind SRS0 may be any other sign
//! SRS0+hash+day+domain+user@forwarder           the same with that sign all through
//! SRS1=hash=first-forwarder==hash=day=domain=user@forwarder
//! SRS1=hash=hash=day=domain=user@forwarder      of PostSRSd, where an SRS0 came damaged
//! word=hash=day=domain=user@forwarder           where the forwarder may choose the word
//! user2+SRS=hash=day=domain=user@tenant         Exchange Online; also without domain and user
//! ```
//!
//! Hash and day go; user, domain and every forwarder stay. The hash is not checked, so anyone can write
//! anything inside: that is why the forwarder is part of the key. PostSRSd can write domain `1` and, as user,
//! an alias that it keeps in a table. Source: M. Wong, "Sender Rewriting Scheme", 2004; libsrs2.

use super::{Forwarder, Mailbox, Observer, Rule, slice, split_first};

/// Replaces the mailbox by the one inside and notes the forwarder; says whether it was SRS.
pub(super) fn unwrap<'a>(
    mailbox: &mut Mailbox<'a>,
    forwarders: &mut Vec<Forwarder<'a>>,
    observer: &mut impl Observer,
) -> bool {
    parse(mailbox.local).is_some_and(|layer| undo(layer, mailbox, forwarders, observer))
}

/// The same for `word=hash=day=domain=user`; asked last, because `prvs=` is such a word, too.
pub(super) fn unwrap_own_word<'a>(
    mailbox: &mut Mailbox<'a>,
    forwarders: &mut Vec<Forwarder<'a>>,
    observer: &mut impl Observer,
) -> bool {
    own_word(mailbox.local).is_some_and(|layer| undo(layer, mailbox, forwarders, observer))
}

fn undo<'a>(
    layer: Layer<'a>,
    mailbox: &mut Mailbox<'a>,
    forwarders: &mut Vec<Forwarder<'a>>,
    observer: &mut impl Observer,
) -> bool {
    let taken = mailbox.local.len() - layer.rest_len();
    observer.step(Rule::Srs, slice(mailbox.local, layer.user.len()..taken));
    let outer = mailbox.domain;
    match layer.inner {
        // No sender is named inside, so the forwarder's own address is all there is.
        None => mailbox.local = layer.user,
        Some(inner) => {
            forwarders.push(Forwarder { local: layer.user, domain: outer });
            if let Some(hop) = layer.hop {
                forwarders.push(Forwarder { local: b"", domain: hop });
            }
            *mailbox = inner;
        }
    }
    true
}

/// One layer, taken apart.
struct Layer<'a> {
    /// What stands before `+SRS=`; else empty.
    user: &'a [u8],
    /// The forwarder before this one, in SRS1.
    hop: Option<&'a [u8]>,
    inner: Option<Mailbox<'a>>,
}

impl Layer<'_> {
    fn rest_len(&self) -> usize {
        self.inner.map_or(0, |inner| inner.local.len())
    }
}

fn parse(local: &[u8]) -> Option<Layer<'_>> {
    if let Some(rest) = local.strip_prefix(b"srs0") {
        return Some(Layer { user: b"", hop: None, inner: Some(body(rest)?) });
    }
    if let Some(rest) = local.strip_prefix(b"srs1") {
        let (_hash, rest) = split_first(tagged(rest)?, b'=')?;
        // Without a first forwarder there is another hash in its place.
        if let Some(inner) = fields(rest, b'=') {
            return Some(Layer { user: b"", hop: None, inner: Some(inner) });
        }
        let (hop, rest) = split_first(rest, b'=')?;
        return Some(Layer { user: b"", hop: Some(hop), inner: Some(body(rest)?) });
    }
    // The fewest signs that each of the others has.
    if !local.contains(&b'=') {
        return None;
    }
    let at = local.windows(5).position(|window| window == b"+srs=")?;
    let user = slice(local, 0..at);
    let rest = slice(local, at + 4..local.len());
    match body(rest) {
        Some(inner) => Some(Layer { user, hop: None, inner: Some(inner) }),
        None => {
            let (hash, day) = split_first(tagged(rest)?, b'=')?;
            (is_stamp(hash, day) && !user.is_empty()).then_some(Layer { user, hop: None, inner: None })
        }
    }
}

/// `word=hash=day=domain=user`. Four fields behind a word, the second of two letters or digits, the third a
/// domain: nothing else is written so.
fn own_word(local: &[u8]) -> Option<Layer<'_>> {
    let (word, rest) = split_first(local, b'=')?;
    if word.len() < 3 || !word.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let hash = rest.iter().position(|&byte| byte == b'=').filter(|hash| (4..=16).contains(hash))?;
    // The day: two signs and the separator.
    (rest.get(hash + 3) == Some(&b'=')).then_some(())?;
    Some(Layer { user: word, hop: None, inner: Some(fields(rest, b'=')?) })
}

/// `=hash=day=domain=user`, or the same with the sign in front all through.
fn body(rest: &[u8]) -> Option<Mailbox<'_>> {
    let separator = *rest.first()?;
    let rest = tagged(rest)?;
    fields(rest, b'=').or_else(|| if separator == b'=' { None } else { fields(rest, separator) })
}

/// What follows the separator behind the tag.
fn tagged(rest: &[u8]) -> Option<&[u8]> {
    let (separator, rest) = rest.split_first()?;
    (separator.is_ascii_punctuation() && *separator != b'.').then_some(rest)
}

fn fields(rest: &[u8], separator: u8) -> Option<Mailbox<'_>> {
    let (hash, rest) = split_first(rest, separator)?;
    let (day, rest) = split_first(rest, separator)?;
    let (domain, local) = split_first(rest, separator)?;
    let is_domain = domain.contains(&b'.') || domain == b"1";
    (is_stamp(hash, day) && is_domain && !local.is_empty()).then_some(Mailbox { local, domain })
}

/// The day is two base32 digits, or a decimal number in some implementations.
fn is_stamp(hash: &[u8], day: &[u8]) -> bool {
    !hash.is_empty() && (1..=5).contains(&day.len()) && day.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_left_alone, assert_table, key};
    use super::*;

    /// Hash and day go; sender, user and each forwarder stay.
    #[test]
    fn srs_keeps_sender_and_forwarders() {
        assert_table(
            Rule::Srs,
            &[
                ("SRS0=Nj3f=GN=acme.example=Alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("SRS0+S+94=GN=acme.example=alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("SRS0-rZ-4=GN=acme.example=alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("SRS0+038cb9ba4c4b+1600+acme.example+ada@fwd.example", "ada@acme.example\\*@fwd.example"),
                ("SRS0=Nj3f=GN=acme.example=a=b@fwd.example", "a=b@acme.example\\*@fwd.example"),
                (
                    "SRS1=Djmi=one.example==rzl5=KB=acme.example=alice@two.example",
                    "alice@acme.example\\*@two.example\\*@one.example",
                ),
                (
                    "SRS1+Djmi=one.example=-rzl5=KB=acme.example=alice@two.example",
                    "alice@acme.example\\*@two.example\\*@one.example",
                ),
                (
                    "SRS1=Djmi=one.example=+rzl5+1600+acme.example+alice@two.example",
                    "alice@acme.example\\*@two.example\\*@one.example",
                ),
                ("SRS1=4kq2=v9tz=3G=acme.example=alice@two.example", "alice@acme.example\\*@two.example"),
                ("SRS0_Nj3f=GN=acme.example=alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("SRS0#Nj3f#GN#acme.example#alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("SRS0=7w/K+2/5R8=XQ=acme.example=alice@fwd.example", "alice@acme.example\\*@fwd.example"),
                ("sendto=Nj3f=GN=acme.example=alice@fwd.example", "alice@acme.example\\*sendto@fwd.example"),
                (
                    "SRS0=ab=QX=one.example=SRS0=cd=QX=acme.example=alice@two.example",
                    "alice@acme.example\\*@two.example\\*@one.example",
                ),
                (
                    "dave+SRS=aagv0=FX=acme.example=bob@tenant.example",
                    "bob@acme.example\\*dave@tenant.example",
                ),
                ("bounces+SRS=2Z+EQ=BG@tenant.example", "bounces@tenant.example"),
            ],
        );
    }

    /// What is inside is normalised like any sender, but the alias of a forwarder's table is an identity.
    #[test]
    fn inside_is_normalised() {
        assert_eq!(
            key("SRS0=ab=QX=news.example=prvs=0123456789=list-bounces+a=b.example@fwd.example"),
            "list-bounces+\\*@news.example\\*@fwd.example",
        );
        assert_eq!(
            key("SRS0=cVlV=GF=1=4GPT92J5T69FQHPU1EKPHIOUMO2CDN90@fwd.example"),
            "4gpt92j5t69fqhpu1ekphioumo2cdn90@1\\*@fwd.example",
        );
    }

    /// Names that begin like SRS, and broken SRS, are senders like any other.
    #[test]
    fn what_is_no_srs_stays() {
        assert_left_alone(&[
            "srs0@d.example",
            "srs0-team@d.example",
            "srs1=x@d.example",
            "srs0=ab=qx=nodomain=alice@fwd.example",
            "srs0=ab=qx=acme.example=@fwd.example",
            "srs0==qx=acme.example=alice@fwd.example",
            "srs0=ab=toolong=acme.example=alice@fwd.example",
            "+srs=abcde=qx@tenant.example",
            "srs0ab=qx=acme.example=alice@fwd.example",
            "srs0.ab=qx=acme.example=alice@fwd.example",
            "news=ab=acme.example=alice@fwd.example",
            "news=ab12=september=acme.example=alice@fwd.example",
            "news=ab12=qx=acme=alice@fwd.example",
            "list-2=ab12=qx=acme.example=alice@fwd.example",
        ]);
    }
}
