//! Damage as disks, memory and people do it, chosen by a number: the same number does the same.

/// Damages the bytes of a data file; says how.
pub fn damage(bytes: &mut Vec<u8>, seed: u64) -> String {
    const SECTOR: usize = 512;
    const PAGE: usize = 4_096;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: usize| {
        // xorshift64: what it gives is good enough to choose a place.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let pages = bytes.len() / PAGE;
    let page = random(pages) * PAGE;
    match random(8) {
        0 => {
            let bits = 1 + random(8);
            for _ in 0..bits {
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
            }
            format!("{bits} bits flipped")
        }
        // The head of a page: that is where its numbers are.
        1 => {
            let at = page + random(64);
            bytes[at] = random(256) as u8;
            format!("a byte at {at}")
        }
        2 => {
            let at = random(bytes.len() / SECTOR) * SECTOR;
            bytes[at..at + SECTOR].iter_mut().for_each(|byte| *byte = random(256) as u8);
            format!("a sector of noise at {at}")
        }
        3 => {
            bytes[page..page + PAGE].fill(0);
            format!("a page of zeros at {page}")
        }
        4 => {
            let from = random(pages) * PAGE;
            bytes.copy_within(from..from + PAGE, page);
            format!("the page at {from} over the one at {page}")
        }
        5 => {
            let root = root(bytes).min(pages) * PAGE;
            let at = (root + random(48)).min(bytes.len() - 1);
            bytes[at] = random(256) as u8;
            format!("a byte of the root page at {at}")
        }
        6 => {
            let at = random(2) * PAGE + random(160);
            bytes[at] ^= 1 << random(8);
            format!("a bit of a head page at {at}")
        }
        _ => {
            let length = random(bytes.len());
            bytes.truncate(length);
            format!("cut at {length}")
        }
    }
}

/// The number of the root page by the newest head page of a data file of a 64-bit system (mdb.c, MDB_meta).
pub fn root(bytes: &[u8]) -> usize {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let heads = [0, 4_096].map(|at| (word(at + 144), word(at + 128)));
    heads.into_iter().max().unwrap().1
}
