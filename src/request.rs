//! The arguments of a call, parsed once: `client sender recipient [option=value]...` in, [`Request`] out. The
//! configuration is not looked at here.
//!
//! A value that the outside chooses (a domain, a fingerprint) never makes a call fail: a sender could switch
//! greylisting off by it. What the administrator writes (times, names) does.

use crate::identity::{ClientNetwork, Domain, Identity, Prefixes, registrable};
use crate::policy::Mode;
use crate::reply::Fault;
use crate::sender::Level;
use crate::settings::RuleChanges;
use crate::time::Seconds;
use crate::triplet::Triplet;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A call's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `delay=`, `window=`, `lifetime=`, `mode=`, `sender_key=`.
    pub rules: RuleChanges,
    /// `spf=`: SPF passed for this domain.
    pub spf: Option<Domain>,
    /// `dkim=`: a signature of this domain verified.
    pub dkim: Option<Domain>,
    /// `host=`: the client's host name, verified forward and back by Exim.
    pub host: Option<Domain>,
    /// `match=`: further text that a retry must repeat; empty for none.
    pub fingerprint: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// [`Fault::BadOption`] for fewer than three arguments, an option that is unknown or given twice, or a time, mode
    /// or path that cannot be read; [`Fault::BadClient`] for a client that is no IP address.
    pub fn parse(arguments: &[&'a [u8]]) -> Result<Self, Fault> {
        let [client, sender, recipient, options @ ..] = arguments else {
            return Err(Fault::BadOption);
        };
        let mut request = Request {
            client: parse_client(client)?,
            sender,
            recipient,
            config: None,
            policy: None,
            rules: RuleChanges::default(),
            spf: None,
            dkim: None,
            host: None,
            fingerprint: b"",
        };
        let mut seen: Vec<&[u8]> = Vec::with_capacity(options.len());
        for option in options.iter().filter(|option| !option.is_empty()) {
            let cut = option.iter().position(|&b| b == b'=').ok_or(Fault::BadOption)?;
            let (name, value) = option.split_at_checked(cut).ok_or(Fault::BadOption)?;
            let value = value.get(1..).unwrap_or_default();
            if seen.contains(&name) {
                return Err(Fault::BadOption);
            }
            seen.push(name);
            request.option(name, value)?;
        }
        Ok(request)
    }

    /// Takes one option. The value is taken verbatim; an empty one means "not given".
    fn option(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        let given = !value.is_empty();
        let time = || {
            if given { Seconds::parse(value).map(Some).ok_or(Fault::BadOption) } else { Ok(None) }
        };
        match name {
            b"config" if given => self.config = Some(parse_path(value)?),
            b"policy" if given => self.policy = Some(value),
            b"mode" if given => self.rules.mode = Some(Mode::from_word(value).ok_or(Fault::BadOption)?),
            b"sender_key" if given => {
                self.rules.sender_key = Some(Level::from_word(value).ok_or(Fault::BadOption)?)
            }
            b"config" | b"policy" | b"mode" | b"sender_key" => {}
            b"delay" => self.rules.delay = time()?,
            b"window" => self.rules.window = time()?,
            b"lifetime" => self.rules.lifetime = time()?,
            b"spf" => self.spf = Domain::parse(value),
            b"dkim" => self.dkim = Domain::parse(value),
            b"host" => self.host = Domain::parse(value),
            b"match" => self.fingerprint = value,
            _ => return Err(Fault::BadOption),
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
        Some(path) => parse_path(path).ok().map(Some),
    }
}

/// An empty client is a local submission.
fn parse_client(text: &[u8]) -> Result<Option<IpAddr>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(text).map_err(|_| Fault::BadClient)?;
    // Exim gives a link-local address with its interface: fe80::1%eth0.
    let address = text.split('%').next().unwrap_or(text);
    address.parse().map(Some).map_err(|_| Fault::BadClient)
}

fn parse_path(value: &[u8]) -> Result<&Path, Fault> {
    let fits = value.starts_with(b"/") && value.len() < libc::PATH_MAX as usize;
    if fits { Ok(Path::new(OsStr::from_bytes(value))) } else { Err(Fault::BadOption) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(arguments: &[&'a str]) -> Result<Request<'a>, Fault> {
        Request::parse(&arguments.iter().map(|a| a.as_bytes()).collect::<Vec<_>>())
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
        assert_eq!(Request::parse(&[b"\xff", b"", b"b"]), Err(Fault::BadClient));
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
