//! Where in a long log the last row of each id is.

use hashbrown::HashTable;

/// A table of one position per id, eight bytes each.
///
/// Which id a position belongs to is told by a tag: the id itself while a key's ids are narrow; a
/// hash of it where they are wide, and then the log has the last word. It is made anew when a key's
/// ids become wide.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdIndex {
    places: HashTable<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    position: u32,
}

/// The tag of an id.
#[inline]
pub(crate) fn tag(id: u64, is_wide: bool) -> u32 {
    if is_wide {
        (mixed(id) >> 32) as u32
    } else {
        id as u32
    }
}

/// Spreads a number over 64 bits (Fibonacci hashing).
#[inline]
fn mixed(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

fn hash(place: &Place) -> u64 {
    mixed(u64::from(place.tag))
}

impl IdIndex {
    /// The position noted under `tag` for which `is` says that it has the id.
    #[inline]
    pub(crate) fn get(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let is = |place: &Place| place.tag == tag && is(place.position);
        self.places
            .find(mixed(u64::from(tag)), is)
            .map(|place| place.position)
    }

    /// Notes a position, in place of the former one, which is returned.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        tag: u32,
        is: impl Fn(u32) -> bool,
        position: u32,
    ) -> Option<u32> {
        let mut former = None;
        let is = |place: &Place| place.tag == tag && is(place.position);
        self.places
            .entry(mixed(u64::from(tag)), is, hash)
            .and_modify(|place| former = Some(std::mem::replace(&mut place.position, position)))
            .or_insert(Place { tag, position });
        former
    }

    /// Forgets an id.
    #[inline]
    pub(crate) fn remove(&mut self, tag: u32, is: impl Fn(u32) -> bool) {
        let is = |place: &Place| place.tag == tag && is(place.position);
        if let Ok(found) = self.places.find_entry(mixed(u64::from(tag)), is) {
            found.remove();
        }
    }

    /// Bytes of its entries.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }
}
