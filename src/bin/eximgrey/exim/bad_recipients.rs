//! Rules like that of Exim's default configuration against guessed recipients: deny when there are more than
//! ten and fewer than half of them have been accepted. A greylisted recipient is not an accepted one, so such
//! a rule refuses the eleventh recipient of a new sender for good. It works with greylisting when it counts
//! deferred recipients with the accepted ones.

use super::acl::VERBS;

/// What such a rule counts, and what it has to count. Exim keeps both numbers, for each message.
const COUNTED: [&str; 2] = ["$recipients_count", "${recipients_count}"];
const TO_COUNT: &str = "${eval:$recipients_count+$rcpt_defer_count}";

/// Verbs of statements that refuse for good.
pub(super) const REFUSING: [&str; 3] = ["deny", "drop", "require"];

/// The conditions in these lines of an ACL, as Exim prints it, that refuse deferred recipients for good.
pub(super) fn conditions(acl: &[&str]) -> Vec<String> {
    let mut refuses = false;
    let mut found = Vec::new();
    for line in acl {
        let text = line.trim();
        let word = text.split_whitespace().next().unwrap_or_default();
        if VERBS.contains(&word) {
            refuses = REFUSING.contains(&word);
        }
        let condition = text.find("condition").and_then(|start| text.get(start..));
        if let Some(condition) =
            condition.filter(|text| refuses && counts(text) && text.contains("rcpt_count"))
        {
            found.push(condition.to_owned());
        }
    }
    found
}

/// Whether `text` counts accepted recipients and leaves out deferred ones.
pub(super) fn counts(text: &str) -> bool {
    COUNTED.iter().any(|variable| text.contains(variable)) && !text.contains("rcpt_defer_count")
}

/// `text` with deferred recipients counted with the accepted ones.
pub fn mended(text: &str) -> String {
    let [plain, braced] = COUNTED;
    text.replace(braced, plain).replace(plain, TO_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that refuses is found, however it is written; one that is mended, or only looks, is none.
    #[test]
    fn rules_that_refuse_deferred_recipients_are_found() {
        let rule =
            "condition = ${if and {{>{$rcpt_count}{10}}{<{$recipients_count}{${eval:$rcpt_count/2}}} }}";
        let statement = |verb: &str, rule: &str| {
            let lines = format!(
                "    {verb} {rule}\n      logwrite = ${{eval:$rcpt_count-$recipients_count}}\n    accept"
            );
            conditions(&lines.lines().collect::<Vec<_>>())
        };
        assert_eq!(statement("deny", rule), [rule]);
        assert_eq!(statement("deny message = no\n", rule), [rule]);
        assert_eq!(statement("drop", &rule.replace("$recipients_count", "${recipients_count}")).len(), 1);
        assert_eq!(statement("deny", &mended(rule)), [""; 0]);
        assert_eq!(statement("warn", rule), [""; 0]);
        assert_eq!(statement("deny", "condition = ${if >{$rcpt_count}{10}}"), [""; 0]);
    }
}
