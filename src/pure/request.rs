//! The arguments of a call, parsed once: `client sender recipient [option=value]...` in, [`Request`] out. The
//! configuration is not looked at here.
//!
//! A value that the outside chooses (a domain, a fingerprint) never makes a call fail: a sender could switch
//! greylisting off by it. What the administrator writes (times, names) does.

use crate::identity::{ClientNetwork, Domain, Identity, Prefixes, registrable};
use crate::reply::Fault;
use crate::rules::{RuleChanges, Rules};
use crate::sender::Level;
use crate::triplet::Triplet;
use crate::value::{Written, excerpt};
use crate::words;
use crate::words::Word;
use std::net::IpAddr;
use std::path::Path;

/// A call's arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The client; `None` for a local submission.
    pub client: Option<IpAddr>,
    /// The envelope sender, empty for the null sender.
    pub sender: &'a [u8],
    /// The recipient.
    pub recipient: &'a [u8],
    /// `config=`: another configuration file.
    pub config: Option<&'a Path>,
    /// `policy=`: a named policy of the configuration file.
    pub policy: Option<&'a [u8]>,
    /// The rules among the options.
    pub rules: RuleChanges,
    /// `spf=`: SPF passed for this domain.
    pub spf: Option<Domain>,
    /// `dkim=`: a signature of this domain verified.
    pub dkim: Option<Domain>,
    /// `host=`: the client's host name, verified forward and back by Exim.
    pub host: Option<Domain>,
    /// `match=`: further text that a retry must repeat; empty for none.
    pub fingerprint: &'a [u8],
    /// `sign=`: what else Exim knows of the attempt, in words of the configuration.
    pub signs: &'a [u8],
}

words! {
    /// The options of a call that are no rules: see [`Request`].
    #[allow(missing_docs)]
    CallOption {
        Config = "config",
        Policy = "policy",
        Spf = "spf",
        Dkim = "dkim",
        Host = "host",
        Match = "match",
        Sign = "sign",
    }
}

/// Why the arguments of a call cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// The word for the reply.
    pub fault: Fault,
    /// What is wrong and what was expected, for the log. What it quotes of the arguments is escaped and cut:
    /// where an administrator has confused them, it is a stranger's text.
    pub text: String,
}

impl Misuse {
    /// What is wrong with an option, or with what is missing.
    #[must_use]
    pub fn option(text: impl Into<String>) -> Self {
        Self { fault: Fault::BadOption, text: text.into() }
    }

    /// An argument in whose place something else was `expected`.
    #[must_use]
    pub fn found(argument: &[u8], expected: &str) -> Self {
        Self::option(format!("{}: expected {expected}", excerpt(argument)))
    }
}

impl<'a> Request<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// [`Fault::BadOption`] for fewer than three arguments, an option that is unknown or given twice, or a
    /// rule or path that cannot be read; [`Fault::BadClient`] for a client that is no IP address.
    pub fn parse(arguments: &[&'a [u8]]) -> Result<Self, Misuse> {
        let [client, sender, recipient, options @ ..] = arguments else {
            return Err(Misuse::option("expected a client, a sender, a recipient and at most four options"));
        };
        let mut request = Request { client: parse_client(client)?, sender, recipient, ..Request::default() };
        let mut seen: Vec<&[u8]> = Vec::with_capacity(options.len());
        for option in options.iter().filter(|option| !option.is_empty()) {
            let mut parts = option.splitn(2, |&byte| byte == b'=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                return Err(Misuse::found(option, "OPTION=VALUE"));
            };
            if seen.contains(&name) {
                return Err(Misuse::found(option, "each option once"));
            }
            seen.push(name);
            request.option(name, value).map_err(|expected| Misuse::found(option, &expected))?;
        }
        Ok(request)
    }

    /// Every option's name.
    pub fn options() -> impl Iterator<Item = &'static str> {
        CallOption::ALL.iter().map(|option| option.word()).chain(Rules::options())
    }

    /// Takes one option, verbatim, or says what was expected. An empty value means "not given".
    fn option(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), String> {
        let written = Written { text: value, quoted: None };
        let given = Some(value).filter(|value| !value.is_empty());
        match CallOption::from_word(name) {
            Some(CallOption::Config) => self.config = given.map(|_| written.path()).transpose()?,
            Some(CallOption::Policy) => self.policy = given,
            Some(CallOption::Spf) => self.spf = Domain::parse(value),
            Some(CallOption::Dkim) => self.dkim = Domain::parse(value),
            Some(CallOption::Host) => self.host = Domain::parse(value),
            Some(CallOption::Match) => self.fingerprint = value,
            Some(CallOption::Sign) => self.signs = value,
            None if given.is_none() && Rules::options().any(|rule| rule.as_bytes() == name) => {}
            None => {
                let unknown = || Err(format!("one of {}", Self::options().collect::<Vec<_>>().join(", ")));
                return self.rules.take(name, written).unwrap_or_else(unknown);
            }
        }
        Ok(())
    }

    /// The triplet that is asked about; `None` for a local submission.
    #[must_use]
    pub fn triplet(&self, prefixes: Prefixes, level: Level) -> Option<Triplet<'a>> {
        let client = self.client?;
        let network = Identity::Network(ClientNetwork::of(client, prefixes));
        let spf = self.spf.clone().map(Identity::Spf);
        let dkim = self.dkim.clone().map(Identity::Dkim);
        let host = self.host.as_ref().and_then(|host| registrable(host, client)).map(Identity::Host);
        let identities = [Some(network), spf, dkim, host].into_iter().flatten().collect();
        Some(Triplet {
            client: Some(client),
            host: self.host.clone(),
            ..Triplet::new(identities, self.sender, self.recipient, self.fingerprint, level)
        })
    }
}

/// The configuration file of a call whose arguments may be wrong otherwise: `Some(None)` is the default one.
/// `None` where it cannot be told.
#[must_use]
pub fn configuration<'a>(arguments: &[&'a [u8]]) -> Option<Option<&'a Path>> {
    let mut named = arguments.iter().skip(3).filter_map(|option| option.strip_prefix(b"config="));
    match named.next() {
        None | Some([]) => Some(None),
        Some(path) => Written { text: path, quoted: None }.path().ok().map(Some),
    }
}

/// An empty client is a local submission.
fn parse_client(text: &[u8]) -> Result<Option<IpAddr>, Misuse> {
    if text.is_empty() {
        return Ok(None);
    }
    // Exim gives a link-local address with its interface: fe80::1%eth0.
    let address = str::from_utf8(text).ok().and_then(|text| text.split('%').next()?.parse().ok());
    let misuse = || Misuse { fault: Fault::BadClient, ..Misuse::found(text, "an IP address") };
    address.ok_or_else(misuse).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Mode;
    use crate::time::Seconds;

    fn parse<'a>(arguments: &[&'a str]) -> Result<Request<'a>, Fault> {
        Request::parse(&arguments.iter().map(|a| a.as_bytes()).collect::<Vec<_>>())
            .map_err(|misuse| misuse.fault)
    }

    const TRIPLET: [&str; 3] = ["192.0.2.1", "a@x.example", "b@y.example"];

    fn with<'a>(options: &[&'a str]) -> Result<Request<'a>, Fault> {
        parse(&[&TRIPLET, options].concat())
    }

    #[test]
    fn three_arguments_are_enough_and_fewer_are_not() {
        assert_eq!(
            parse(&TRIPLET).map(|r| (r.sender, r.recipient)),
            Ok((&b"a@x.example"[..], &b"b@y.example"[..]))
        );
        assert_eq!(parse(&TRIPLET[..2]), Err(Fault::BadOption));
        assert_eq!(parse(&[]), Err(Fault::BadOption));
    }

    #[test]
    fn a_client_is_an_address_or_nothing() {
        assert_eq!(parse(&["", "", "b@y.example"]).map(|r| r.client), Ok(None));
        for good in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"] {
            assert!(parse(&[good, "", "b"]).unwrap().client.is_some(), "{good}");
        }
        for bad in ["localhost", "192.0.2", "192.0.2.1 ", "192.0.2.1:25", "[192.0.2.1]", "\u{1}", "%eth0"] {
            assert_eq!(parse(&[bad, "", "b"]), Err(Fault::BadClient), "{bad}");
        }
        assert_eq!(Request::parse(&[b"\xff", b"", b"b"]).unwrap_err().fault, Fault::BadClient);
    }

    #[test]
    fn every_option_is_read() {
        let request = with(&["config=/etc/x=y.toml", "delay=10m", "spf=X.example", "mode=observe"]).unwrap();
        assert_eq!(request.config, Some(Path::new("/etc/x=y.toml")));
        assert_eq!(request.rules.delay, Some(Seconds(600)));
        assert_eq!(request.rules.mode, Some(Mode::Observe));
        assert_eq!(request.spf, Domain::parse(b"x.example"));
        let request = with(&["window=1d", "lifetime=9d", "policy=strict", "match=a=b c"]).unwrap();
        assert_eq!(request.rules.window, Some(Seconds::DAY));
        assert_eq!(request.rules.lifetime, Some(Seconds::DAY.times(9)));
        assert_eq!(request.policy, Some(&b"strict"[..]));
        assert_eq!(request.fingerprint, b"a=b c");
        let request = with(&["dkim=d.example", "host=mx.h.example", "sender_key=exact"]).unwrap();
        assert_eq!(
            (request.dkim, request.host),
            (Domain::parse(b"d.example"), Domain::parse(b"mx.h.example"))
        );
        assert_eq!(request.rules.sender_key, Some(Level::Exact));
    }

    #[test]
    fn empty_options_and_values_are_not_given() {
        let request = with(&["", "spf=", "delay=", "config="]).unwrap();
        assert_eq!(request, parse(&TRIPLET).unwrap());
        assert_eq!(with(&["policy=", "mode=", "match=", "host="]).unwrap(), request);
    }

    #[test]
    fn what_the_administrator_wrote_wrongly_is_an_error() {
        for bad in [
            "delay",
            "delay=5 m",
            "=5m",
            "dlay=5m",
            "mode=on",
            "config=x.toml",
            "Delay=5m",
            " delay=5m",
            "sender_key=x",
        ] {
            assert_eq!(with(&[bad]), Err(Fault::BadOption), "{bad}");
        }
        assert_eq!(with(&["delay=5m", "delay=6m"]), Err(Fault::BadOption));
    }

    #[test]
    fn what_the_outside_chooses_changes_nothing_but_itself() {
        let plain = parse(&TRIPLET).unwrap();
        let long = format!("spf={}", "a.".repeat(32_768));
        for hostile in
            ["spf=a b.example", "spf=x.example\nmode=off", "dkim=\"x.example\"", "host=../../etc", &long]
        {
            assert_eq!(with(&[hostile]).unwrap(), plain, "{hostile}");
        }
        let request = with(&["match=x mode=off\n"]).unwrap();
        assert_eq!(request.rules, RuleChanges::default());
    }

    #[test]
    fn a_triplet_has_an_identity_for_each_verified_name() {
        let request = with(&["spf=x.example", "dkim=d.example", "host=mx.mail.h.example"]).unwrap();
        let triplet = request.triplet(Prefixes::default(), Level::Full).unwrap();
        let names: Vec<String> = triplet.identities.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["192.0.2.0/24", "x.example", "d.example", "h.example"]);
        assert!(parse(&["", "", "b"]).unwrap().triplet(Prefixes::default(), Level::Full).is_none());
    }
}
