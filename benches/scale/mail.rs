//! Mail for the stores: the same triplet for the same number, with addresses as long as those of real mail.

use eximgrey::identity::{ClientNetwork, Identity, Prefixes};
use eximgrey::sender::Level;
use eximgrey::triplet::Triplet;
use std::net::Ipv4Addr;

/// One triplet.
pub struct Mail {
    pub client: Ipv4Addr,
    pub sender: String,
    pub recipient: String,
}

/// The finaliser of SplitMix64: even, and another number for each.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Numbers for one triplet.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % limit
    }

    /// A name that reads as one, so that the sender key keeps it.
    fn name(&mut self, text: &mut String, least: u64, most: u64) {
        for _ in 0..least + self.below(most - least + 1) {
            text.push(b"bdfgklmnprstvw"[self.below(14) as usize].into());
            text.push(b"aeiou"[self.below(5) as usize].into());
        }
    }
}

impl Mail {
    /// Triplet `number` of a site whose known triplets come from `networks` networks.
    pub fn new(number: u64, networks: u64) -> Self {
        let mut dice = Dice(number);
        // Odd times anything is another network for each, spread over all of them.
        let network = (number % networks * 0x9e37_79b1) & 0xff_ffff;
        let client = Ipv4Addr::from(((network as u32) << 8) + 1 + dice.below(254) as u32);
        let (mut sender, mut recipient) = (String::with_capacity(48), String::with_capacity(48));
        dice.name(&mut sender, 2, 4);
        sender.push('.');
        dice.name(&mut sender, 2, 4);
        sender.push('@');
        dice.name(&mut sender, 2, 4);
        sender.push_str(".example");
        dice.name(&mut recipient, 4, 7);
        recipient.push_str("@site");
        recipient.push(b"abcdefghij"[dice.below(10) as usize].into());
        recipient.push_str(".example");
        Self { client, sender, recipient }
    }

    pub fn triplet(&self) -> Triplet<'_> {
        let network = Identity::Network(ClientNetwork::of(self.client.into(), Prefixes::default()));
        Triplet::new(vec![network], self.sender.as_bytes(), self.recipient.as_bytes(), b"", Level::Full)
    }
}
