//! The lines of an export: what a store holds, each record as one JSON object. `docs/schemas/export.json`
//! describes them. Pure.
//!
//! A text that is no UTF-8 is an object with its bytes: `{"hex":"ff40"}`.

use eximgrey::evidence::{Earned, Known, Outcomes, Pending};
use eximgrey::reply::By;
use eximgrey::store::any::Any;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::store::record::{Facts, Meta, Record, Texts};
use eximgrey::time::Timestamp;
use eximgrey::triplet::{Key, Secret};
use eximgrey::whitelist::ListKind;
use eximgrey::words::Word;
use serde_json::{Map, Value, json};

/// Of the lines. A reader knows all earlier ones.
pub const FORMAT: u32 = 1;

/// The names of an entry's three texts.
const TEXTS: [&str; 3] = ["identity", "sender", "recipient"];
const LISTED: [&str; 3] = ["entry", "comment", "more"];

/// The first line.
pub fn head(head: &Meta, now: Timestamp) -> Value {
    json!({
        "eximgrey_export": FORMAT, "version": env!("CARGO_PKG_VERSION"), "date": now.to_string(),
        "made": head.made.0, "secret": hex(&head.secret.0),
    })
}

/// The last line: without it, the file is not whole.
pub fn end(records: u64) -> Value {
    json!({ "records": records })
}

/// How many records the last line says there are; `None` for another line.
pub fn read_end(line: &Value) -> Option<u64> {
    line.get("records")?.as_u64()
}

/// What the first line says.
pub fn read_head(line: &Value) -> Result<Meta, String> {
    let format = line.get("eximgrey_export").and_then(Value::as_u64);
    match format.ok_or("the first line of an eximgrey export")? {
        later if later > u64::from(FORMAT) => Err(format!(
            "format {FORMAT} or earlier: it was written by a later eximgrey (format {later}); upgrade this one"
        )),
        _ => Ok(Meta { secret: Secret(bytes_of(line, "secret")?), made: time(line, "made")? }),
    }
}

/// The line of a record.
pub fn line(key: &Key, any: &Any) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.into(), value);
    put("key", hex(&key.0).into());
    match any {
        Any::Entry(entry) => {
            let (word, names) = match entry.kind {
                Kind::Listed(kind) => {
                    put("kind", kind.word().into());
                    ("whitelist", LISTED)
                }
                kind => (word_of(kind), TEXTS),
            };
            put("record", word.into());
            put("since", entry.since.0.into());
            put("expires", entry.expires.0.into());
            put("until", entry.until.0.into());
            if entry.unauthenticated {
                put("unauthenticated", true.into());
            }
            put_texts(&mut put, names, &entry.texts);
        }
        Any::Attempt(record) => {
            put("by", record.by.word().into());
            put("expires", record.expires.0.into());
            put("first_seen", record.facts.first_seen().0.into());
            let numbers: &[(&str, u32)] = match &record.facts {
                Facts::Pending { record, ripe, network } => {
                    put("record", "pending".into());
                    put("passed", record.passed.is_some().into());
                    &[("ripe", ripe.0), ("crowd", *network)]
                }
                Facts::Known(known) => {
                    put("record", "known".into());
                    &[
                        ("passed", known.passed.0),
                        ("last_seen", known.last_seen.0),
                        ("counted", known.counted.into()),
                    ]
                }
                Facts::Identity(earned) => {
                    put("record", "identity".into());
                    &[
                        ("passes", earned.passes),
                        ("counted", earned.counted.0),
                        ("last_seen", earned.last_seen.0),
                        ("outcomes", earned.outcomes.to_bits()),
                        ("blamed", earned.blamed.0),
                    ]
                }
            };
            for (name, number) in numbers {
                put(name, (*number).into());
            }
            let Texts { identity, sender, recipient, cut } = record.texts.clone();
            if cut {
                put("cut", true.into());
            }
            put_texts(&mut put, TEXTS, &[identity, sender, recipient]);
        }
    }
    Value::Object(map)
}

/// The record of a line; else what was expected.
pub fn read(line: &Value) -> Result<(Key, Any), String> {
    let key = Key(bytes_of(line, "key")?);
    let word = line.get("record").and_then(Value::as_str).unwrap_or_default();
    let number = |name| number(line, name);
    let time = |name| time(line, name);
    let is = |name: &str| line.get(name) == Some(&Value::Bool(true));
    let entry = |kind, names| {
        let [since, expires, until] = [time("since")?, time("expires")?, time("until")?];
        let texts = texts(line, names)?;
        let unauthenticated = is("unauthenticated");
        Ok((key, Any::Entry(Entry { kind, unauthenticated, since, expires, until, texts })))
    };
    if word == "whitelist" {
        let kind = line.get("kind").and_then(Value::as_str).unwrap_or_default();
        let kind =
            ListKind::from_word(kind.as_bytes()).ok_or_else(|| format!("kind: {}", ListKind::expected()))?;
        return entry(Kind::Listed(kind), LISTED);
    }
    if let Some(kind) = STANDING.into_iter().find(|kind| word_of(*kind) == word) {
        return entry(kind, TEXTS);
    }
    let facts = match word {
        "pending" => {
            let ripe = time("ripe")?;
            let record = Pending { first_seen: time("first_seen")?, passed: is("passed").then_some(ripe) };
            Facts::Pending { record, ripe, network: number("crowd")? }
        }
        "known" => Facts::Known(Known {
            first_seen: time("first_seen")?,
            passed: time("passed")?,
            last_seen: time("last_seen")?,
            counted: number("counted")?.try_into().map_err(|_| "counted: a number up to 255")?,
        }),
        "identity" => Facts::Identity(Earned {
            passes: number("passes")?,
            first_seen: time("first_seen")?,
            counted: time("counted")?,
            last_seen: time("last_seen")?,
            outcomes: Outcomes::from_bits(number("outcomes")?),
            blamed: time("blamed")?,
        }),
        _ => return Err("record: known, identity, pending, whitelist or another word of the schema".into()),
    };
    let by = line.get("by").and_then(Value::as_str).unwrap_or_default();
    let by = By::from_word(by.as_bytes()).ok_or_else(|| format!("by: {}", By::expected()))?;
    let [identity, sender, recipient] = texts(line, TEXTS)?;
    let texts = Texts { identity, sender, recipient, cut: is("cut") };
    Ok((key, Any::Attempt(Record { by, expires: time("expires")?, facts, texts })))
}

const STANDING: [Kind; 5] = [Kind::Replied, Kind::RepliedDomain, Kind::Released, Kind::Trap, Kind::JustSent];

const fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Replied => "replied",
        Kind::RepliedDomain => "replied-domain",
        Kind::Released => "released",
        Kind::Trap => "trap",
        Kind::JustSent => "just-sent",
        Kind::Listed(_) => "whitelist",
    }
}

/// Texts that are empty are left out.
fn put_texts(put: &mut impl FnMut(&str, Value) -> Option<Value>, names: [&str; 3], texts: &[Vec<u8>; 3]) {
    for (name, text) in names.iter().zip(texts).filter(|(_, text)| !text.is_empty()) {
        let value = str::from_utf8(text).map_or_else(|_| json!({ "hex": hex(text) }), Value::from);
        put(name, value);
    }
}

fn texts(line: &Value, names: [&str; 3]) -> Result<[Vec<u8>; 3], String> {
    let text = |name: &str| match line.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(other) => {
            let bytes = other.get("hex").and_then(Value::as_str).and_then(unhex);
            bytes.ok_or_else(|| format!("{name}: a text, or {{\"hex\":...}}"))
        }
    };
    let [one, two, three] = names.map(text);
    Ok([one?, two?, three?])
}

fn number(line: &Value, name: &str) -> Result<u32, String> {
    let number = line.get(name).and_then(Value::as_u64).and_then(|number| number.try_into().ok());
    number.ok_or_else(|| format!("{name}: a number of 32 bits"))
}

fn time(line: &Value, name: &str) -> Result<Timestamp, String> {
    number(line, name).map(Timestamp)
}

fn bytes_of(line: &Value, name: &str) -> Result<[u8; 16], String> {
    let bytes = line.get(name).and_then(Value::as_str).and_then(unhex);
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("{name}: 32 hexadecimal digits"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(any::<u8>(), 0..255), "[a-z@.\u{e9}\"]{0,40}".prop_map(String::into_bytes)]
    }

    prop_compose! {
        /// Any record as a store can hold it.
        fn stored()(
            key in any::<[u8; 16]>(), kind in 0..9_usize, by in 0..By::ALL.len(), flag in any::<bool>(),
            n in any::<[u32; 8]>(), list in 0..ListKind::ALL.len(), texts in [text(), text(), text()],
        ) -> (Key, Any) {
            let [first_seen, expires, a, b, c, d, e, counted] = n;
            let [first_seen, expires, until] = [first_seen, expires, a].map(Timestamp);
            let facts = match kind {
                0 => Facts::Pending {
                    record: Pending { first_seen, passed: flag.then_some(until) }, ripe: until, network: b,
                },
                1 => Facts::Known(Known {
                    first_seen, passed: until, last_seen: Timestamp(b), counted: (counted % 33) as u8,
                }),
                2 => Facts::Identity(Earned {
                    first_seen, passes: b, counted: until, last_seen: Timestamp(c), blamed: Timestamp(d),
                    outcomes: Outcomes::from_bits(e),
                }),
                _ => {
                    let kinds = STANDING.into_iter().chain([Kind::Listed(ListKind::ALL[list])]);
                    let kind = kinds.collect::<Vec<_>>()[kind - 3];
                    let entry = Entry { unauthenticated: flag, expires, ..Entry::new(kind, first_seen, until, texts) };
                    return (Key(key), Any::decode(&Any::Entry(entry).encode()).unwrap());
                }
            };
            let [identity, sender, recipient] = texts;
            let texts = Texts { identity, sender, recipient, cut: flag };
            let record = Record { by: By::ALL[by], expires, facts, texts };
            (Key(key), Any::decode(&Any::Attempt(record).encode()).unwrap())
        }
    }

    proptest! {
        /// One line of text, whatever the bytes, and the same record when it is read.
        #[test]
        fn a_record_comes_back_as_it_was((key, any) in stored()) {
            let text = line(&key, &any).to_string();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(read(&serde_json::from_str(&text).unwrap()), Ok((key, any)));
        }

        #[test]
        fn nothing_that_is_read_is_a_panic(text in "[{]\"(key|record)\":(\"[0-9a-f]{32}\"|1|[{][}])[}]") {
            if let Ok(value) = serde_json::from_str(&text) {
                prop_assert!(read(&value).is_err());
                prop_assert!(read_head(&value).err().is_some());
            }
        }
    }

    #[test]
    fn a_later_format_is_refused_by_its_number() {
        let line = json!({ "eximgrey_export": FORMAT + 1 });
        let refused = read_head(&line).err();
        assert!(refused.is_some_and(|text| text.contains("later eximgrey (format 2)")));
        let meta = Meta { secret: Secret([7; 16]), made: Timestamp(9) };
        assert!(read_head(&head(&meta, Timestamp(1))) == Ok(meta));
    }
}
