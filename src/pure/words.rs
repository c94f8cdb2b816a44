//! The words that people write and read for the values of an enum: in replies, options, settings and on the
//! command line. [`words!`](crate::words!) writes an enum and its words once.

use std::fmt::Display;

/// An enum that [`words!`](crate::words!) made, for code that serves all of them.
pub trait Word: Copy + Display + Send + Sync + 'static {
    /// Every value, in the order of the enum.
    const ALL: &'static [Self];

    /// The word.
    fn word(self) -> &'static str;

    /// What the enum's source says about the value.
    fn doc(self) -> &'static str;

    /// The same as the command has it in its help and its answers.
    #[must_use]
    fn about(self) -> &'static str {
        self.doc().trim().trim_end_matches('.')
    }

    /// The value of a word.
    #[must_use]
    fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word().as_bytes() == word)
    }

    /// What is expected where none of the words stands: `"spam", "ham" or "trap"`.
    #[must_use]
    fn expected() -> String {
        let words: Vec<_> = Self::ALL.iter().map(|value| format!("{:?}", value.word())).collect();
        words.split_last().map_or_else(String::new, |(last, rest)| format!("{} or {last}", rest.join(", ")))
    }
}

/// Makes an enum of which each value has a word: `words! { /// Doc. Name { /// Doc. Value = "word", ... } }`.
/// The enum has
/// `ALL` and `word` of its own, too, which need no import of [`Word`](crate::words::Word).
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $about:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $about])* $variant),+ }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl $crate::words::Word for $name {
            const ALL: &'static [Self] = Self::ALL;

            fn word(self) -> &'static str {
                self.word()
            }

            fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($about),*)),+ }
            }
        }
    };
}
