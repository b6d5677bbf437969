//! What a participant wants of data tracks and the handles it knows them by. Plain state: `tracks`
//! decides what belongs in here.

use std::collections::BTreeMap;

use crate::participant::limits::SID_BYTES_MAX;
use crate::room::image::records::DataRecord;
use crate::room::limits::{DATA_SUBSCRIPTIONS_MAX, DATA_TRACKS_WANTED_MAX};

/// One participant's side of the room's data tracks.
#[derive(Default)]
pub(in crate::room) struct DataSubscriptions {
    /// Tracks nobody asked about are subscribed too.
    auto: bool,
    /// What was asked for, track by track; the track may not exist yet.
    wishes: BTreeMap<String, bool>,
    by_handle: BTreeMap<u16, String>,
    of_track: BTreeMap<String, u16>,
    next: u16,
    /// The client was told of handles: it must hear of the last one's end too.
    pub(super) told: bool,
}

impl DataSubscriptions {
    /// `first` is where its handles begin.
    pub(in crate::room) fn new(auto: bool, first: u16) -> Self {
        Self {
            auto,
            next: first,
            ..Self::default()
        }
    }

    pub(super) fn image(&self, record: &mut DataRecord) {
        record.auto = self.auto;
        record.wishes.clone_from(&self.wishes);
        let handles = self.by_handle.iter();
        record.handles = handles
            .map(|(handle, sid)| (u32::from(*handle), sid.clone()))
            .collect();
        record.next_handle = u32::from(self.next);
        record.told_handles = self.told;
    }

    /// A handle its client knows already.
    pub(super) fn seat(&mut self, handle: u16, track: &str) {
        self.by_handle.insert(handle, track.to_owned());
        self.of_track.insert(track.to_owned(), handle);
    }

    pub(super) fn wish(&mut self, track: &str, wanted: bool) {
        if wanted == self.auto {
            // The default once more: nothing to remember.
            self.wishes.remove(track);
        } else if let Some(wish) = self.wishes.get_mut(track) {
            *wish = wanted;
        } else if self.wishes.len() < DATA_TRACKS_WANTED_MAX && track.len() <= SID_BYTES_MAX {
            self.wishes.insert(track.to_owned(), wanted);
        }
    }

    pub(super) fn wants(&self, track: &str) -> bool {
        self.wishes.get(track).copied().unwrap_or(self.auto)
    }

    pub(super) fn has_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    pub(super) fn handle_of(&self, track: &str) -> Option<u16> {
        self.of_track.get(track).copied()
    }

    pub(super) fn is_full(&self) -> bool {
        self.of_track.len() >= DATA_SUBSCRIPTIONS_MAX
    }

    /// A handle for a track that has none; `None` when there are too many.
    pub(super) fn take(&mut self, track: &str) -> Option<u16> {
        if self.is_full() {
            return None;
        }
        // Ends soon: most of the 65,535 handles are free.
        while self.next == 0 || self.by_handle.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = handle.wrapping_add(1);
        self.by_handle.insert(handle, track.to_owned());
        self.of_track.insert(track.to_owned(), handle);
        Some(handle)
    }

    pub(super) fn release(&mut self, track: &str) -> bool {
        let handle = self.of_track.remove(track);
        handle.is_some_and(|handle| self.by_handle.remove(&handle).is_some())
    }

    /// The track is gone, and its sid never comes back.
    pub(super) fn forget(&mut self, track: &str) -> bool {
        self.wishes.remove(track);
        self.release(track)
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = (u16, &str)> {
        self.by_handle
            .iter()
            .map(|(handle, track)| (*handle, track.as_str()))
    }
}
