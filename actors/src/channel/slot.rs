//! Maps by a channel's slot, with a hash that fits dense numbers of our own.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map by slot. Nobody outside chooses slots, so no hash against attackers is needed.
pub type SlotMap<V> = HashMap<u32, V, BuildHasherDefault<SlotHasher>>;

/// Spreads dense numbers by a multiplication (Knuth, The Art of Computer Programming 3, section 6.4).
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotHasher(u64);

impl Hasher for SlotHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, slot: u32) {
        self.0 = (self.0 ^ u64::from(slot)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
