//! Power cuts: a process with the real library uses a store, and everything that it does to files is written down. Of
//! that, images are made of what a disk may hold after a power cut: what was flushed, and of the rest any sectors, sizes
//! and names. Each is opened after another boot. `make torture-power` makes two thousand.

use super::{KNOWN, NEW, RETRIED, SENDER};
use crate::common::driver::{Built, Driver};
use crate::common::{NOBODY, Place, as_store_user, give_to_store_user, is_root};
use eximgrey::memory::Access;
use eximgrey::store::record::Facts;
use eximgrey::store::{Store, Table, repair};
use eximgrey::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// What was learned adds words to the answers.
const SETTINGS: &str = "delay = \"0s\"\nauto_after = 0\ntrust_known_domains = false\nlearn = \"off\"\n";
const SECTOR: usize = 512;

/// Seconds of the trace, and passes in each: more than are carried at once.
const SECONDS: u32 = 20;
const PASSES: u32 = 12;

/// What happened to the store, in its order.
enum Event {
    Write {
        path: PathBuf,
        at: usize,
        bytes: Vec<u8>,
    },
    Size {
        path: PathBuf,
        size: usize,
    },
    Flush(PathBuf),
    NewFile(PathBuf),
    NewDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    /// A recipient was told that his mail passes, in this second.
    Passed(String, u32),
}

/// A number for each file and directory; the store is number 0.
type Inode = usize;

#[derive(Clone, Default)]
struct File {
    is_dir: bool,
    /// What is on the disk for sure: bytes, or names.
    bytes: Vec<u8>,
    names: BTreeMap<String, Inode>,
    /// What is not: in the order in which it happened.
    writes: Vec<Change>,
    renames: Vec<(String, Option<Inode>)>,
}

#[derive(Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Size(usize),
}

impl File {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Bytes(at, bytes) => {
                let end = at + bytes.len();
                self.bytes.resize(self.bytes.len().max(end), 0);
                self.bytes[*at..end].copy_from_slice(bytes);
            }
            Change::Size(size) => self.bytes.resize(*size, 0),
        }
    }

    fn rename(&mut self, (name, inode): &(String, Option<Inode>)) {
        match inode {
            Some(inode) => self.names.insert(name.clone(), *inode),
            None => self.names.remove(name),
        };
    }

    /// Everything is on the disk now.
    fn flush(&mut self) {
        for change in std::mem::take(&mut self.writes) {
            self.apply(&change);
        }
        for change in std::mem::take(&mut self.renames) {
            self.rename(&change);
        }
    }
}

/// A disk, with what is on its way there.
#[derive(Clone)]
struct Disk {
    store: PathBuf,
    files: Vec<File>,
}

impl Disk {
    fn new(store: PathBuf) -> Self {
        Self { store, files: vec![File { is_dir: true, ..File::default() }] }
    }

    /// The names of a directory, with those on their way.
    fn names(&self, dir: Inode) -> BTreeMap<String, Inode> {
        let mut now = File { names: self.files[dir].names.clone(), ..File::default() };
        self.files[dir].renames.iter().for_each(|change| now.rename(change));
        now.names
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        let below = path.strip_prefix(&self.store).ok()?;
        below.iter().try_fold(0, |dir, name| self.names(dir).get(name.to_str()?).copied())
    }

    /// The directory of `path`, and the name there.
    fn place(&self, path: &Path) -> (Inode, String) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (self.find(path.parent().unwrap()).unwrap_or_else(|| panic!("no directory of {path:?}")), name)
    }

    fn name(&mut self, path: &Path, inode: Option<Inode>) {
        let (dir, name) = self.place(path);
        self.files[dir].renames.push((name, inode));
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Write { path, at, bytes } => {
                self.change(path, Change::Bytes(*at, bytes.clone()));
            }
            Event::Size { path, size } => self.change(path, Change::Size(*size)),
            Event::Flush(path) => {
                if let Some(inode) = self.find(path) {
                    self.files[inode].flush();
                }
            }
            Event::NewFile(path) | Event::NewDir(path) => {
                self.files.push(File { is_dir: matches!(event, Event::NewDir(_)), ..File::default() });
                self.name(path, Some(self.files.len() - 1));
            }
            Event::Rename(from, to) => {
                let inode = self.find(from);
                let other = None;
                self.name(from, other);
                self.name(to, inode);
            }
            Event::Link(from, to) => self.name(to, self.find(from)),
            Event::Remove(path) => self.name(path, None),
            Event::Passed(..) => {}
        }
    }

    fn change(&mut self, path: &Path, change: Change) {
        if let Some(inode) = self.find(path) {
            self.files[inode].writes.push(change);
        }
    }

    fn flush_all(&mut self) {
        self.files.iter_mut().for_each(File::flush);
    }

    /// What the power cut leaves: of what is on its way, each sector with a chance of `kept` in 4; of names, those of
    /// the first renames in each directory.
    fn after_cut(&self, dice: &mut Dice, kept: u64) -> Self {
        let mut disk = self.clone();
        for file in &mut disk.files {
            for change in std::mem::take(&mut file.writes) {
                match change {
                    Change::Size(_) if dice.below(4) < kept => file.apply(&change),
                    Change::Size(_) => {}
                    Change::Bytes(at, bytes) => {
                        // From one boundary of a sector to the next.
                        let mut done = 0;
                        while done < bytes.len() {
                            let end = bytes.len().min(((at + done) / SECTOR + 1) * SECTOR - at);
                            if dice.below(4) < kept {
                                file.apply(&Change::Bytes(at + done, bytes[done..end].to_vec()));
                            }
                            done = end;
                        }
                    }
                }
            }
            let renames = std::mem::take(&mut file.renames);
            let some = dice.below(renames.len() as u64 + 1) as usize;
            renames.iter().take(some).for_each(|change| file.rename(change));
        }
        disk
    }

    /// Writes it below `to`; first attempts get the name of another boot, unless they are to be read.
    fn write(&self, to: &Path, another_boot: bool) {
        self.write_dir(0, to, another_boot);
    }

    fn write_dir(&self, dir: Inode, to: &Path, another_boot: bool) {
        for (name, &inode) in &self.files[dir].names {
            let is_old = another_boot && name.starts_with("pending-");
            let name = if is_old { "pending-01234567-89ab-cdef-0123-456789abcdef" } else { name };
            let (file, path) = (&self.files[inode], to.join(name));
            // What was mapped was not written down: see `put_state`.
            if name == "state" {
                continue;
            }
            if file.is_dir {
                fs::create_dir(&path).unwrap();
                self.write_dir(inode, &path, another_boot);
            } else {
                fs::write(&path, &file.bytes).unwrap();
            }
            give_to_store_user(&path);
        }
    }
}

/// Numbers that are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn event(line: &str) -> Event {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap();
    let path = PathBuf::from(words[1]);
    match words[0] {
        "W" => Event::Write { path, at: number(2), bytes: bytes(words[3]) },
        "T" => Event::Size { path, size: number(2) },
        "S" => Event::Flush(path),
        "N" => Event::NewFile(path),
        "D" => Event::NewDir(path),
        "R" => Event::Rename(path, words[2].into()),
        "L" => Event::Link(path, words[2].into()),
        "U" => Event::Remove(path),
        "M" => {
            let (second, recipient) = words[1].split_once(':').unwrap();
            Event::Passed(recipient.into(), second.parse().unwrap())
        }
        other => panic!("{other}"),
    }
}

/// Lets a process use a store, from the first mail ever on: in each second many mails pass, in crowds of one connection.
fn trace(place: &Place) -> Vec<Event> {
    let built = Built::new_with(place, &["tests/c/recorder.c", "-rdynamic"]);
    let file = place.path("output/trace");
    let call = |driver: &mut Driver, function: &str, words: &[&str]| {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(driver.call(function, &words), "set");
    };
    let mut driver = built.start();
    call(&mut driver, "record", &[place.store().to_str().unwrap(), file.to_str().unwrap()]);
    for second in 0..SECONDS {
        call(&mut driver, "later", &[&second.to_string()]);
        let recipients = (0..PASSES).map(|pass| format!("user{second}-{pass}@rcpt.example"));
        let recipients: Vec<String> = recipients.collect();
        for expected in [NEW, RETRIED] {
            for (client, recipient) in (0..).zip(&recipients) {
                let client = format!("10.{second}.{client}.1");
                assert_eq!(driver.greylist(place, &[&client, SENDER, recipient]), expected);
                if expected == RETRIED {
                    call(&mut driver, "mark", &[&format!("{second}:{recipient}")]);
                }
            }
        }
    }
    driver.end();
    fs::read_to_string(file).unwrap().lines().map(event).collect()
}

/// A store for images, which is emptied for the next one.
struct Images {
    place: Place,
    built: Built,
    state: Vec<u8>,
}

impl Images {
    fn open(&self, disk: &Disk, another_boot: bool, state: u64) {
        let store = self.place.store();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
        give_to_store_user(&store);
        disk.write(&store, another_boot);
        // The mapped file: any of its sectors may be old, here nothing; or it is missing.
        let mut dice = Dice(state + 1);
        let path = store.join("state");
        if !state.is_multiple_of(3) {
            let mut bytes = self.state.clone();
            for sector in bytes.chunks_mut(SECTOR) {
                if dice.below(3) < state % 3 - 1 {
                    sector.fill(0);
                }
            }
            fs::write(&path, bytes).unwrap();
            if is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// Who is known in there; the error is what is wrong with it.
    fn known(&self) -> Result<BTreeSet<String>, String> {
        let dir = self.place.store().join("known");
        if !dir.join("data.mdb").exists() {
            return Ok(BTreeSet::new());
        }
        as_store_user(|| {
            let walk = repair::check(&dir, true).map_err(|e| e.to_string())?.ok_or("it changes")?;
            if !walk.faults.told.is_empty() {
                return Err(format!("{:?}", walk.faults));
            }
            let mut known = BTreeSet::new();
            let store = Store::open(&self.place.settings().store, Access::Look, Timestamp::now());
            let Some(store) = store.map_err(|e| e.to_string())? else { return Ok(known) };
            let scanned = store.scan(Table::Known, |_, record| {
                if let Facts::Known(_) = record.facts {
                    known.insert(String::from_utf8_lossy(&record.texts.recipient).into_owned());
                }
                true
            });
            match scanned.map_err(|e| e.to_string())?.unreadable {
                0 => Ok(known),
                some => Err(format!("{some} records cannot be read")),
            }
        })
    }

    /// What the library answers about a mail that is new, and about one that is known; nothing if it crashes.
    fn answers(&self, known: Option<&String>) -> Vec<String> {
        let mut driver = self.built.start();
        let option = self.place.config_option();
        let mut answers = Vec::new();
        let mut ask = |client: &str, recipient: &str| {
            let arguments = [client, SENDER, recipient, &option].map(str::as_bytes);
            let command = format!("call greylist {}", crate::common::driver::words(&arguments));
            let answer = driver.ask_or_die(&command).map(|line| crate::common::driver::reply(&line));
            answers.push(answer.unwrap_or_else(|| "crashed".into()));
        };
        if let Some(recipient) = known {
            let numbers = recipient.strip_prefix("user").and_then(|rest| rest.split_once('@')).unwrap().0;
            ask(&format!("10.{}.1", numbers.replace('-', ".")), recipient);
        }
        ask("192.0.2.99", "stranger@rcpt.example");
        answers
    }
}

#[test]
fn a_power_cut_costs_the_last_second_and_never_the_store() {
    let wanted = std::env::var("EXIMGREY_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let traced = Place::new(SETTINGS);
    let events = trace(&traced);
    let place = Place::new(SETTINGS);
    let built = Built::new(&place);
    let images = Images { place, built, state: fs::read(traced.store().join("state")).unwrap() };
    let data = traced.store().join("known/data.mdb");

    // What is known after each commit of `known`: a commit ends with the write of one of the two head pages.
    let mut disk = Disk::new(traced.store());
    let mut commits = vec![BTreeSet::new()];
    let is_commit = |disk: &Disk, event: &Event| {
        matches!(event, Event::Write { path, at, .. }
        if *at < 8192 && disk.find(path).is_some() && disk.find(path) == disk.find(&data))
    };
    for event in &events {
        disk.happens(event);
        if is_commit(&disk, event) {
            let mut whole = disk.clone();
            whole.flush_all();
            images.open(&whole, true, 0);
            commits.push(images.known().unwrap_or_default());
        }
    }
    assert!(commits.len() > SECONDS as usize, "{} commits", commits.len());
    assert!(commits.last().unwrap().len() as u32 > (SECONDS - 2) * PASSES);

    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut cuts: Vec<usize> = (0..wanted).map(|_| dice.below(events.len() as u64) as usize).collect();
    cuts.sort_unstable();
    let mut cuts = cuts.into_iter().peekable();
    let mut disk = Disk::new(traced.store());
    // Commits before now, and those that a flush has made safe: all but the last.
    let (mut committed, mut safe) = (0, 0);
    let mut passed: Vec<(&String, u32)> = Vec::new();
    let (mut wrong, mut lost, mut torn, mut made) = (Vec::new(), 0, 0, 0);
    for (number, event) in events.iter().enumerate() {
        disk.happens(event);
        if is_commit(&disk, event) {
            committed += 1;
        }
        match event {
            Event::Flush(path) if disk.find(path) == disk.find(&data) => safe = committed,
            Event::Passed(recipient, second) => {
                for (older, when) in &passed {
                    assert!(
                        when + 1 >= *second || commits[committed].contains(*older),
                        "{older} is not carried"
                    );
                }
                passed.push((recipient, *second));
            }
            _ => {}
        }
        while cuts.next_if_eq(&number).is_some() {
            made += 1;
            let image = disk.after_cut(&mut dice, made % 5);
            // Without the rule that another boot begins anew: first attempts are damaged, if they are there.
            let mut named = disk.clone();
            named.files.iter_mut().filter(|file| file.is_dir).for_each(File::flush);
            images.open(&named.after_cut(&mut dice, made % 5), false, made);
            if images.answers(None).iter().any(|answer| answer.contains("error=") || answer == "crashed") {
                torn += 1;
            }
            images.open(&image, true, made);
            let when = format!("event {number} of {}, {} of 4 kept", events.len(), made % 5);
            let known = match images.known() {
                Ok(known) => known,
                Err(why) => {
                    wrong.push(format!("{when}: {why}"));
                    continue;
                }
            };
            let missing = commits[safe].difference(&known).count();
            if missing > 0 {
                wrong.push(format!("{when}: {missing} of {} are lost", commits[safe].len()));
            }
            lost += passed.iter().filter(|(recipient, _)| !known.contains(*recipient)).count();
            let answers = images.answers(known.first());
            let expected = if known.is_empty() { vec![NEW] } else { vec![KNOWN, NEW] };
            if answers != expected {
                wrong.push(format!("{when}: {answers:?}"));
            }
        }
    }
    println!(
        "campaign: {} changes of files, {} commits, {} passes; {made} power cuts cost {lost} passes in all; read as of this boot, \
         {torn} were damaged",
        events.len(),
        commits.len() - 1,
        passed.len()
    );
    assert!(wrong.is_empty(), "{} of {made}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(torn > 0, "the power cuts tear nothing");
}
