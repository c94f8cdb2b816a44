//! Whether greylisting is reached: a stranger writes to recipients that the configuration takes mail for, in
//! a session that is not for real.

use super::daemon::Exim;
use super::session::{Answer, Session, TEST_CLIENT};
use super::source::Source;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Of each list of domains this many are tried, of each domain this many recipients. Exim's default
/// configuration begins to count bad recipients of a message at eleven.
const DOMAINS_OF_A_LIST: usize = 2;
const RECIPIENTS_OF_A_DOMAIN: usize = 9;
/// Each domain is a message. Exim ends a session at the eleventh command that is no mail.
const DOMAINS: usize = 8;

/// How much of the log and of other files is read, from the end.
const TAIL: u64 = 1 << 18;

/// Who may get mail anywhere, if nothing better is known.
const USUAL: [&str; 5] = ["root", "info", "admin", "webmaster", "office"];

/// What came of it.
#[derive(Default)]
pub(super) struct Trial {
    /// Recipients that greylisting was asked about, one of a domain.
    pub(super) asked: Vec<String>,
    /// Recipients that were accepted without, where none of the same domain was asked about.
    pub(super) unreached: Vec<Unreached>,
    /// What the first recipient that was not accepted got.
    refused: Option<String>,
    /// The session ended before all was tried: no answer came, or not in time.
    late: bool,
    /// A statement of the ACL that was run.
    ran: Option<(PathBuf, usize)>,
}

/// A recipient that a stranger's mail is accepted for without greylisting.
pub(super) struct Unreached {
    pub(super) recipient: String,
    /// File and line, as Exim has read it, of the statement that accepts.
    pub(super) statement: Option<(PathBuf, usize)>,
    /// The fragment was reached, and left the mail alone.
    pub(super) left_out: bool,
}

impl Trial {
    /// Tries the configuration of `exim`, which is `source`.
    pub(super) fn of(exim: &Exim, source: &Source) -> Self {
        let log = Log::of(exim);
        let domains = domains(exim, source, &log);
        let mut trial = Self::default();
        let host = exim.option("primary_hostname").unwrap_or_default();
        let senders = [Some(format!("root@{host}")), log.sender.clone()];
        for sender in senders.into_iter().flatten() {
            trial.late = trial.session(exim, &sender, &domains).is_none();
            // Another sender may be welcome where the first one was not.
            if trial.late || !trial.asked.is_empty() || !trial.unreached.is_empty() {
                break;
            }
        }
        trial
    }

    fn session(&mut self, exim: &Exim, sender: &str, domains: &[Domain]) -> Option<()> {
        let mut session = Session::begin(exim)?;
        for domain in domains {
            let answer = session.say(&format!("MAIL FROM:<{sender}>"))?;
            if answer.accepts() {
                self.domain(&mut session, domain)?;
            } else {
                self.refused(&format!("MAIL FROM:<{sender}>"), &answer);
            }
            session.say("RSET")?;
        }
        Some(())
    }

    /// Until one recipient of the domain is greylisted.
    fn domain(&mut self, session: &mut Session, domain: &Domain) -> Option<()> {
        let mut unreached = None;
        let mut in_time = Some(());
        for user in &domain.users {
            let recipient = format!("{user}@{}", domain.name);
            let Some(answer) = session.say(&format!("RCPT TO:<{recipient}>")) else {
                in_time = None;
                break;
            };
            self.ran = self.ran.take().or_else(|| answer.statement());
            if answer.greylists() {
                self.asked.push(recipient);
                return Some(());
            }
            if answer.accepts() {
                let (statement, left_out) = (answer.statement(), answer.reached());
                unreached.get_or_insert(Unreached { recipient, statement, left_out });
            } else {
                self.refused(&format!("RCPT TO:<{recipient}>"), &answer);
            }
        }
        self.unreached.extend(unreached);
        in_time
    }

    fn refused(&mut self, command: &str, answer: &Answer) {
        self.refused.get_or_insert_with(|| format!("{command} is answered \"{}\"", answer.reply));
    }

    /// The index of a line of the ACL that was run.
    pub(super) fn line_of_acl(&self, source: &Source) -> Option<usize> {
        self.ran.as_ref().and_then(|(file, line)| source.at(file, *line))
    }

    /// The index of the line that accepts a stranger first.
    pub(super) fn entrance(&self, source: &Source) -> Option<usize> {
        let places = self.unreached.iter().filter_map(|unreached| unreached.statement.as_ref());
        places.filter_map(|(file, line)| source.at(file, *line)).min()
    }

    /// Why nothing can be said.
    pub(super) fn unknown(&self) -> String {
        let why = match &self.refused {
            Some(answer) => answer.clone(),
            None if self.late => "no answer came in time".into(),
            None => "no recipient is known".into(),
        };
        format!(
            "not known whether greylisting is reached: in a session that is not for real, {why}. To see it, run exim -bh \
             {TEST_CLIENT}, and write to a user of yours"
        )
    }
}

/// A domain that mail is taken for, perhaps, and who may get mail there.
struct Domain {
    name: String,
    users: Vec<String>,
}

/// Domains from Exim's named lists and from its log, and recipients in each.
fn domains(exim: &Exim, source: &Source, log: &Log) -> Vec<Domain> {
    let host = exim.option("primary_hostname").unwrap_or_default();
    let mut names = vec![host.clone()];
    let lists = source.lines.iter().filter_map(|line| {
        let name = line.text.strip_prefix("domainlist")?.trim_start_matches("_cache").split('=').next()?;
        Some(name.trim().trim_start_matches("hide ").to_owned())
    });
    for list in lists {
        let text = exim.expand(&format!("${{listnamed_d:{list}}}")).unwrap_or_default();
        names.extend(items(&text).flat_map(|item| members(&item, &host)).take(DOMAINS_OF_A_LIST));
    }
    names.extend(log.recipients.iter().filter_map(|address| Some(address.split_once('@')?.1.to_owned())));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    let people = people();
    let domain = |name: String| {
        let logged = log.recipients.iter().filter_map(|address| {
            address.split_once('@').filter(|(_, domain)| *domain == name).map(|(user, _)| user.to_owned())
        });
        let users = logged.take(3).chain(looked_up(source, &name)).chain(people.iter().take(2).cloned());
        let mut seen = BTreeSet::new();
        let mut users: Vec<_> =
            users.chain(USUAL.map(str::to_owned)).filter(|user| seen.insert(user.clone())).collect();
        users.truncate(RECIPIENTS_OF_A_DOMAIN);
        Domain { name, users }
    };
    names.into_iter().take(DOMAINS).map(domain).collect()
}

/// The items of a list of Exim's.
fn items(list: &str) -> impl Iterator<Item = String> {
    let list = list.trim();
    let (separator, list) = match list.strip_prefix('<').and_then(|rest| Some((rest.chars().next()?, rest))) {
        Some((separator, rest)) => (separator, rest.get(separator.len_utf8()..).unwrap_or_default()),
        None => (':', list),
    };
    let items: Vec<_> = list.split(separator).map(|item| item.trim().to_owned()).collect();
    items.into_iter()
}

/// Domains that an item of a list is about, as far as they can be told.
fn members(item: &str, host: &str) -> Vec<String> {
    let plain = |name: &str| {
        name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    let file = searched(item).next();
    let (kind, file) = file.map(|file| ("", file)).or_else(|| item.split_once(';')).unwrap_or(("", item));
    let file = file.trim();
    let found: Vec<String> = match item {
        "@" => return vec![host.to_owned()],
        _ if kind.contains("dsearch") => {
            let entries = fs::read_dir(file).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        _ if file.starts_with('/') => keys(Path::new(file)),
        _ => vec![item.to_owned()],
    };
    found.into_iter().filter(|name| plain(name)).take(DOMAINS_OF_A_LIST).collect()
}

/// The keys of a file that is looked up in, or the lines of a list.
fn keys(file: &Path) -> Vec<String> {
    let lines = tail(file);
    let lines = lines.lines().filter(|line| !line.starts_with(['#', ' ', '\t']));
    let key = |line: &str| line.split([':', ' ', '\t']).next().map(str::to_owned);
    lines.filter_map(key).filter(|key| !key.is_empty()).collect()
}

/// Users that Exim looks up in files of their domain, as `lsearch{/etc/virtual/$domain/passwd}` does, or by
/// their address.
fn looked_up(source: &Source, domain: &str) -> Vec<String> {
    let user = |key: String, own_file: bool| match key.split_once('@') {
        Some((user, of)) => (of == domain).then(|| user.to_owned()),
        None => own_file.then_some(key),
    };
    let mut users = Vec::new();
    for path in source.lines.iter().flat_map(|line| searched(&line.text)) {
        let filled = ["${domain_data}", "$domain_data", "${domain}", "$domain"]
            .iter()
            .fold(path.to_owned(), |path, variable| path.replace(variable, domain));
        let keys = keys(Path::new(&filled)).into_iter();
        users
            .extend(keys.filter_map(|key| user(key, filled != path)).filter(|user| plain_user(user)).take(2));
    }
    users
}

/// The files that are looked up in.
fn searched(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("search").filter_map(|(at, word)| {
        let rest = text.get(at + word.len()..)?.trim_start_matches(['*', '@']).strip_prefix(['{', ';'])?;
        let end = rest.match_indices([' ', ':', '}']).find(|(at, _)| {
            rest.get(..*at).is_some_and(|path| path.matches('{').count() == path.matches('}').count())
        });
        rest.get(..end.map_or(rest.len(), |(at, _)| at)).filter(|path| path.starts_with('/'))
    })
}

fn plain_user(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Users of this machine that are people: from 1000 on, but not nobody (Debian, Fedora, FreeBSD).
fn people() -> Vec<String> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let person = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?);
        ((1000..60_000).contains(&uid) && plain_user(name)).then(|| name.to_owned())
    };
    users.lines().filter_map(person).collect()
}

/// Who has sent and got mail here.
#[derive(Default)]
struct Log {
    /// Addresses that mail was delivered to on this machine, the last one first.
    recipients: Vec<String>,
    /// Who has written from elsewhere last.
    sender: Option<String>,
}

impl Log {
    fn of(exim: &Exim) -> Self {
        let files = exim.option("log_file_path").unwrap_or_default();
        let file = items(&files).find(|item| item.starts_with('/')).unwrap_or_default();
        Self::read(&tail(Path::new(&file.replace("%s", "main").replace("%D", ""))))
    }

    fn read(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines().rev() {
            let words: Vec<_> = line.split(' ').collect();
            let address = |word: Option<&&str>| {
                let address = word?.trim_start_matches('<').trim_end_matches('>');
                let (user, domain) = address.split_once('@')?;
                (plain_user(user) && plain_user(domain)).then(|| address.to_owned())
            };
            let remote = words.iter().any(|word| word.starts_with("H="));
            if let Some(at) = words.iter().position(|word| ["=>", "->"].contains(word)).filter(|_| !remote) {
                let after = words.get(at + 1..).unwrap_or_default();
                let found = after.iter().take(2).find_map(|word| address(Some(word)));
                log.recipients.extend(found.filter(|found| !log.recipients.contains(found)));
            } else if let Some(at) = words.iter().position(|word| *word == "<=").filter(|_| remote) {
                log.sender = log.sender.take().or_else(|| address(words.get(at + 1)));
            }
        }
        log.recipients.truncate(RECIPIENTS_OF_A_DOMAIN);
        log
    }
}

/// The end of a file, as text.
fn tail(file: &Path) -> String {
    let mut bytes = Vec::new();
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.take(TAIL).read_to_end(&mut bytes)
    };
    let _: std::io::Result<usize> = { read }();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists of Exim's are read as far as they name domains.
    #[test]
    fn domains_are_read_from_lists() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# all\none.example: x\n two\nthree.example\n").unwrap();
        let file = file.path().display();
        for (list, expected) in [
            ("@ : localhost : a.example : !b.example : *.c.example", vec!["mx", "a.example"]),
            ("<; a.example ; b.example", vec!["a.example", "b.example"]),
            (&format!("lsearch;{file} : partial-lsearch*@;/nowhere"), vec!["one.example", "three.example"]),
            (&format!("{file}"), vec!["one.example", "three.example"]),
            (
                &format!("${{lookup{{$domain}}lsearch{{{file}}}{{$domain}}}}"),
                vec!["one.example", "three.example"],
            ),
            ("mysql;select * from domains", vec![]),
        ] {
            let found: Vec<_> = items(list).flat_map(|item| members(&item, "mx")).collect();
            assert_eq!(found, expected, "{list}");
        }
    }

    /// Files of users are found, whatever the domain is called in their names.
    #[test]
    fn users_are_read_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        fs::write(dir.path().join("a.example"), "ann:x\n").unwrap();
        fs::write(dir.path().join("all"), "bob@a.example: 1\ncarl@b.example: 1\ndora: 1\n").unwrap();
        for (line, expected) in [
            (
                format!("condition = ${{lookup{{$local_part}}lsearch{{{path}/${{domain}}}}{{yes}}{{no}}}}"),
                vec!["ann"],
            ),
            (format!("local_parts = lsearch;{path}/$domain_data : x"), vec!["ann"]),
            (format!("data = ${{lookup{{$local_part@$domain}}lsearch*@{{{path}/all}}}}"), vec!["bob"]),
        ] {
            let source = Source::of(&format!("# 1 \"/f\"\n{line}\n"), None);
            assert_eq!(looked_up(&source, "a.example"), expected, "{line}");
        }
    }

    /// Deliveries on this machine and senders from elsewhere are found in the log.
    #[test]
    fn recipients_are_read_from_the_log() {
        let log = Log::read(
            "2026 01 A <= first@far.example H=mx.far.example [192.0.2.1] P=esmtp S=9\n\
             2026 02 A => user <user@here.example> R=local_user T=local\n\
             2026 03 A -> other@here.example R=local T=lmtp\n\
             2026 04 B <= local@here.example U=local P=local S=9\n\
             2026 05 B => gone@away.example R=dnslookup T=smtp H=mx.away.example [192.0.2.2]\n\
             2026 06 A => user <user@here.example> R=local_user T=local\n",
        );
        assert_eq!(log.recipients, ["user@here.example", "other@here.example"]);
        assert_eq!(log.sender.as_deref(), Some("first@far.example"));
    }
}
