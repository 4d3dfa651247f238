//! Memory for what is large and arrives piece by piece.

use bytes::Bytes;
use memmap2::MmapMut;

/// From this size on memory is taken from the system page by page and not from the allocator.
const LEAST: usize = 4 << 20;

/// A block of memory that is filled from its start.
///
/// Its pages are taken as they are filled, so that what a peer merely announces costs addresses and no memory. Where the
/// system has huge pages for those who ask, it asks: with small ones, a large transfer spends more time on page faults than
/// on bytes.
#[derive(Debug)]
pub(crate) struct Block {
    map: MmapMut,
    filled: usize,
}

impl Block {
    /// Of this length; `None` if it is too small to be worth it, or the system gives none.
    pub(crate) fn new(length: usize) -> Option<Self> {
        if length < LEAST {
            return None;
        }
        let map = MmapMut::map_anon(length).ok()?;
        #[cfg(target_os = "linux")]
        // Without them it works as well.
        drop(map.advise(memmap2::Advice::HugePage));
        Some(Self { map, filled: 0 })
    }

    /// What is not filled yet.
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        self.map.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many bytes more are filled.
    pub(crate) fn fill(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.map.len());
    }

    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// How much memory it takes, where the system tells.
    #[cfg(test)]
    pub(crate) fn resident(&self) -> Option<usize> {
        let start = self.map.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let range = range.and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            match (range, line.strip_prefix("Rss:")) {
                (Some(range), _) => inside = range.contains(&start),
                (None, Some(size)) if inside => {
                    return size.trim().trim_end_matches(" kB").parse::<usize>().ok().map(|size| size << 10);
                }
                _ => (),
            }
        }
        None
    }

    /// What was filled.
    pub(crate) fn freeze(self) -> Bytes {
        let filled = self.filled;
        Bytes::from_owner(self.map).slice(..filled)
    }
}
