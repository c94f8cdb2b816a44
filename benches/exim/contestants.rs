//! The greylisters that are compared, each as its documentation says to use it, at RCPT or after DATA.
//!
//! None is asked to look anything up in DNS; each greylists the exact triplet of client (or its network), sender and
//! recipient, and trusts no client as a whole, so that the same connections get the same answers from all.

use crate::Result;
use crate::daemon::{EXIM_USER, make_directory, run, start_peer};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What one Exim is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// New triplets and early retries: an hour to wait, nothing passes.
    Long,
    /// Known triplets: a second to wait, or less, so that they can be made known.
    Short,
}

impl Wait {
    fn seconds(self) -> u32 {
        match self {
            Self::Long => 3600,
            Self::Short => 1,
        }
    }
}

/// The place of one Exim and its greylister.
pub struct Site {
    pub dir: PathBuf,
    pub wait: Wait,
    /// For all daemons.
    pub environment: Vec<(&'static str, PathBuf)>,
}

/// What a greylister adds to Exim's configuration.
#[derive(Default)]
pub struct Recipe {
    /// To the main section.
    pub main: String,
    /// To the RCPT ACL, before its `accept`.
    pub acl: String,
    /// To the DATA ACL, before its `discard`: nothing is to pile up in the queue.
    pub data: String,
    /// A directory that this Exim sees as /var/lib.
    pub var_lib: Option<PathBuf>,
}

#[derive(Clone, Copy)]
pub struct Contestant {
    pub name: &'static str,
    /// Prepares its files in the site, starts its daemon if it has one.
    pub prepare: fn(&Site) -> Result<Recipe>,
    /// Whether it makes a triplet known; those that do not accept at once what is to be known.
    pub greylists: bool,
}

const fn greylister(name: &'static str, prepare: fn(&Site) -> Result<Recipe>) -> Contestant {
    Contestant { name, prepare, greylists: true }
}

/// The first is what the others are compared with.
pub const ALL: [Contestant; 9] = [
    Contestant { name: "Exim alone", prepare: alone, greylists: false },
    Contestant { name: "an empty library", prepare: nothing, greylists: false },
    EXIMGREY,
    greylister("eximgrey, shipped ACL", shipped),
    greylister("eximgrey, not preloaded", not_preloaded),
    SEEN,
    SQLITE,
    GREYLISTD,
    POSTGREY,
];

/// The same for those that greylist after DATA; all get the same message.
const AFTER_DATA: [Contestant; 4] = [
    Contestant { name: "Exim alone", prepare: alone_after_data, greylists: false },
    greylister("eximgrey, at RCPT", preloaded),
    greylister("eximgrey, after DATA", eximgrey_after_data),
    greylister("rspamd", rspamd),
];

/// Of [`ALL`] and of [`AFTER_DATA`], those with these names, each beside Exim alone; all if there are no names.
///
/// # Errors
/// A name that none has.
pub fn named(names: &[String]) -> Result<(Vec<Contestant>, Vec<Contestant>)> {
    let known: Vec<_> = ALL.iter().chain(AFTER_DATA.iter().skip(1)).map(|one| one.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no contestant {name}; known: {}", known.join(", ")).into());
    }
    let named = |one: &&Contestant| names.is_empty() || names.iter().any(|name| name == one.name);
    let wanted = |all: &[Contestant]| {
        let mut wanted: Vec<_> = all.iter().filter(named).copied().collect();
        if let (Some(alone), Some(first)) = (all.first(), wanted.first())
            && first.name != alone.name
        {
            wanted.insert(0, *alone);
        }
        wanted
    };
    Ok((wanted(&ALL), wanted(&AFTER_DATA)))
}

pub const EXIMGREY: Contestant = greylister("eximgrey", preloaded);
pub const SEEN: Contestant = greylister("Exim's seen", seen);
pub const SQLITE: Contestant = greylister("SQLite lookup", sqlite);
pub const GREYLISTD: Contestant = greylister("greylistd", greylistd);
pub const POSTGREY: Contestant = greylister("postgrey", postgrey);

/// No greylisting: the least that such an answer can cost. A new triplet gets an unconditional 451, a known one a 250.
fn alone(site: &Site) -> Result<Recipe> {
    let acl = if site.wait == Wait::Long { "  defer" } else { "" };
    Ok(Recipe { acl: acl.to_owned(), ..Recipe::default() })
}

fn alone_after_data(site: &Site) -> Result<Recipe> {
    alone(site).map(after_data)
}

/// The same for one recipient, when its message has come.
fn after_data(recipe: Recipe) -> Recipe {
    let data = recipe.acl.replace("$local_part@$domain", "$recipients");
    Recipe { acl: String::new(), data, ..recipe }
}

/// The least that asking a library can cost: the statement of [`preloaded`], with a library that answers at once.
fn nothing(site: &Site) -> Result<Recipe> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/exim/nothing.c");
    let action = if site.wait == Wait::Long { "defer" } else { "pass" };
    run(Command::new("cc")
        .args([
            "-O2",
            "-shared",
            "-fPIC",
            &format!("-DANSWER=\"action={action} reason=known by=network\""),
            "-o",
        ])
        .arg(site.dir.join("eximgrey.so"))
        .arg(source))?;
    Ok(Recipe { main: macros(site) + PRELOAD, acl: STATEMENT.to_owned(), ..Recipe::default() })
}

/// The library in the site, with its store where it is by default and no configuration file, as on most machines; yields
/// the macros of exim-conf/main.conf. No client passes often enough to be trusted as a whole.
fn eximgrey(site: &Site) -> Result<String> {
    make_directory(&site.dir.join("var"), "root")?;
    make_directory(&site.dir.join("var/eximgrey"), EXIM_USER)?;
    let library = built_library();
    fs::copy(&library, site.dir.join("eximgrey.so"))
        .map_err(|error| format!("{}: {error}; see make build", library.display()))?;
    Ok(macros(site))
}

fn macros(site: &Site) -> String {
    let delay = if site.wait == Wait::Long { "1h" } else { "0s" };
    format!("EXIMGREY_SO = {}/eximgrey.so\nEXIMGREY_OPTIONS = {{delay={delay}}}\n", site.dir.display())
}

/// One question a recipient.
const STATEMENT: &str = "  defer condition = ${if eq{${extract{action}{${dlfunc{EXIMGREY_SO}{greylist}\
    {$sender_host_address}{$sender_address}{$local_part@$domain}EXIMGREY_OPTIONS}}}}{defer}}";

const PRELOAD: &str = "smtp_accept_max_per_host = ${dlfunc{EXIMGREY_SO}{greylist_preload}{500}}\n";

/// The library as it is installed, by `make build`.
fn built_library() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_eximgrey")).with_file_name("../library/libeximgrey.so")
}

fn not_preloaded(site: &Site) -> Result<Recipe> {
    Ok(Recipe {
        main: eximgrey(site)?,
        acl: STATEMENT.to_owned(),
        var_lib: Some(site.dir.join("var")),
        ..Recipe::default()
    })
}

fn preloaded(site: &Site) -> Result<Recipe> {
    let mut recipe = not_preloaded(site)?;
    recipe.main += PRELOAD;
    Ok(recipe)
}

fn eximgrey_after_data(site: &Site) -> Result<Recipe> {
    preloaded(site).map(after_data)
}

/// The fragments as Debian's drop-in includes them: there, Exim has verified the recipient. SPF and the client's host name
/// would be questions to DNS.
fn shipped(site: &Site) -> Result<Recipe> {
    let fragments = site.dir.join("exim-conf");
    make_directory(&fragments, "root")?;
    for name in ["main.conf", "rcpt.conf"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("exim-conf").join(name), fragments.join(name))?;
    }
    let fragments = fragments.display();
    let main = eximgrey(site)?
        + "EXIMGREY_VERIFIED = yes\n\
           EXIMGREY_SPF = no\n\
           EXIMGREY_IDENTITIES = {spf=${if eq{$spf_result}{pass}{$sender_address_domain}}}{host=}\n\
           EXIMGREY_PRELOAD = 500\n"
        + &format!(".include {fragments}/main.conf\n");
    let acl = format!("  .include {fragments}/rcpt.conf");
    Ok(Recipe { main, acl, var_lib: Some(site.dir.join("var")), ..Recipe::default() })
}

/// Exim's own `seen` (4.96 and later), which is true from the given age on. The key is the triplet.
fn seen(site: &Site) -> Result<Recipe> {
    let acl = format!(
        "  defer !seen = -{}s / key=${{sender_host_address}}_${{sender_address}}_$local_part@$domain",
        site.wait.seconds()
    );
    Ok(Recipe { acl, ..Recipe::default() })
}

/// Greylisting in ACLs with a table in SQLite, as recipes do it: look, add what is not there, compare times.
fn sqlite(site: &Site) -> Result<Recipe> {
    let file = site.dir.join("greylist").join("greylist.sqlite");
    make_directory(&site.dir.join("greylist"), EXIM_USER)?;
    let table = "CREATE TABLE greylist (client TEXT, sender TEXT, recipient TEXT, first INTEGER, \
                 PRIMARY KEY (client, sender, recipient))";
    run(Command::new("sqlite3").arg(&file).arg(table))?;
    run(Command::new("chown").arg(EXIM_USER).arg(&file))?;
    let values = ["$sender_host_address", "$sender_address", "$local_part@$domain"];
    let [client, sender, recipient] = values.map(|value| format!("'${{quote_sqlite:{value}}}'"));
    let acl = format!(
        "  warn set acl_m_first = ${{lookup sqlite{{SELECT first FROM greylist \
         WHERE client={client} AND sender={sender} AND recipient={recipient}}}}}\n  \
         warn condition = ${{if !def:acl_m_first}}\n    \
         set acl_m_added = ${{lookup sqlite{{INSERT INTO greylist \
         VALUES ({client}, {sender}, {recipient}, $tod_epoch)}}}}\n  \
         defer condition = ${{if def:acl_m_first{{${{if <{{$tod_epoch}}{{${{eval:$acl_m_first+{}}}}}}}}}{{true}}}}",
        site.wait.seconds()
    );
    Ok(Recipe { main: format!("sqlite_dbfile = {}\n", file.display()), acl, ..Recipe::default() })
}

/// greylistd's daemon, asked as its own exim4-acl-example.txt does. Debian's settings but for the delay.
fn greylistd(site: &Site) -> Result<Recipe> {
    let dir = site.dir.join("greylistd");
    make_directory(&dir, "greylist")?;
    let here = dir.display();
    let config = format!(
        "[timeouts]\nretryMin = {}\nretryMax = 28800\nexpire = 5184000\n\
         [socket]\npath = {here}/socket\nmode = 0660\n\
         [data]\nupdate = 600\nstatefile = {here}/states\ntripletfile = {here}/triplets\n\
         savetriplets = true\nsinglecheck = false\nsingleupdate = false\n",
        site.wait.seconds()
    );
    fs::write(dir.join("config"), config)?;
    let socket = dir.join("socket");
    let mut daemon = Command::new("runuser");
    daemon.args(["-u", "greylist", "--", "/usr/sbin/greylistd"]).arg(dir.join("config"));
    start_peer(site, &mut daemon, &socket)?;
    let acl = format!(
        "  defer condition = ${{readsocket{{{}}}{{--grey $sender_host_address $sender_address \
         $local_part@$domain}}{{5s}}{{}}{{false}}}}",
        socket.display()
    );
    Ok(Recipe { acl, ..Recipe::default() })
}

/// postgrey's daemon, asked as its own README.exim does, but for the client's host name, a question to DNS.
fn postgrey(site: &Site) -> Result<Recipe> {
    let dir = site.dir.join("postgrey");
    make_directory(&dir, "postgrey")?;
    let here = dir.display();
    let socket = dir.join("socket");
    let mut daemon = Command::new("/usr/sbin/postgrey");
    daemon.args(["--exim", "--auto-whitelist-clients=0", "--user=postgrey", "--group=postgrey"]).args([
        format!("--unix={here}/socket"),
        format!("--dbdir={here}"),
        format!("--delay={}", site.wait.seconds()),
    ]);
    start_peer(site, &mut daemon, &socket)?;
    let acl = format!(
        "  defer\n    \
         set acl_m0 = request=smtpd_access_policy\\nprotocol_state=RCPT\\nprotocol_name=${{uc:$received_protocol}}\\n\
         helo_name=$sender_helo_name\\nclient_address=$sender_host_address\\nclient_name=unknown\\n\
         sender=$sender_address\\nrecipient=$local_part@$domain\\n\
         instance=$sender_host_address/$sender_address/$local_part@$domain\\n\\n\n    \
         set acl_m0 = ${{sg{{${{readsocket{{{}}}{{$acl_m0}}{{5s}}{{}}{{action=DUNNO}}}}}}{{action=}}{{}}}}\n    \
         message = ${{sg{{$acl_m0}}{{^\\\\w+\\\\s*}}{{}}}}\n    \
         condition = ${{if eq{{${{uc:${{substr{{0}}{{5}}{{$acl_m0}}}}}}}}{{DEFER}}}}",
        socket.display()
    );
    Ok(Recipe { acl, ..Recipe::default() })
}

/// rspamd with its greylist module and no other, no rules and no statistics, asked as its documentation says for Exim.
///
/// The action's threshold is below the score of every message, so that all are greylisted; without another action above
/// it, rspamd would stop before. Clients in 127.0.0.0/8 are local ones, which it passes by default. Nothing in it asks DNS. The
/// list of top-level domains is short: its filter's own takes ten seconds to compile. If rspamd fails, the message
/// passes, which is a wrong answer.
fn rspamd(site: &Site) -> Result<Recipe> {
    let dir = site.dir.join("rspamd");
    make_directory(&dir, "_rspamd")?;
    let here = dir.display();
    fs::write(dir.join("domains"), "com\norg\n")?;
    let config = format!(
        "options {{ filters = \"\"; hs_cache_dir = {here}; control_socket = {here}/control; url_tld = {here}/domains; }}\n\
         logging {{ type = file; filename = {here}/log; level = info; }}\n\
         worker normal {{ bind_socket = {here}/socket; }}\n\
         modules {{ path = /usr/share/rspamd/plugins/greylist.lua; }}\n\
         actions {{ reject = 15; greylist = -1; }}\n\
         redis {{ servers = {}; }}\n\
         greylist {{ timeout = {}s; check_local = true; }}\n",
        redis(site)?.display(),
        site.wait.seconds()
    );
    fs::write(dir.join("config"), config)?;
    let socket = dir.join("socket");
    let mut daemon = Command::new("/usr/bin/rspamd");
    daemon.args(["-f", "-u", "_rspamd", "-g", "_rspamd", "-c"]).arg(dir.join("config"));
    start_peer(site, &mut daemon, &socket)?;
    let data = "  warn spam = nobody:true\n  defer condition = ${if eq{$spam_action}{soft reject}}";
    Ok(Recipe {
        main: format!("spamd_address = {} variant=rspamd\n", socket.display()),
        data: data.to_owned(),
        ..Recipe::default()
    })
}

/// Where rspamd keeps its records: with Debian's settings, in a place of its own. Yields its socket.
fn redis(site: &Site) -> Result<PathBuf> {
    let dir = site.dir.join("redis");
    make_directory(&dir, "redis")?;
    let here = dir.display();
    let config = format!(
        "include /etc/redis/redis.conf\ndaemonize no\nport 0\nunixsocket {here}/socket\n\
         dir {here}\nlogfile {here}/log\npidfile {here}/pid\n"
    );
    fs::write(dir.join("config"), config)?;
    let socket = dir.join("socket");
    let mut daemon = Command::new("runuser");
    daemon.args(["-u", "redis", "--", "/usr/bin/redis-server"]).arg(dir.join("config"));
    start_peer(site, &mut daemon, &socket)?;
    Ok(socket)
}
