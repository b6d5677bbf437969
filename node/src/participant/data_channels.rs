//! Data channels of the connection the client reads from: which are open, and what waits for them.
//! Bounded: the oldest waiting messages go first, and none but reliable ones keep others from
//! waiting.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use media::{Command, TransportKey};
use protocol::proto;

use super::limits::{
    WAITING_DATA_BYTES_MAX, WAITING_DATA_MESSAGES_MAX, WAITING_LOSSY_BYTES_MAX,
    WAITING_LOSSY_MESSAGES_MAX,
};
use super::outputs::Outputs;

pub(crate) const RELIABLE: &str = "_reliable";
pub(crate) const LOSSY: &str = "_lossy";
pub(crate) const DATA_TRACK: &str = "_data_track";

#[derive(Debug, Default)]
pub(crate) struct DataChannels {
    open: BTreeSet<String>,
    reliable: Waiting,
    others: Waiting,
}

/// What waits, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<(&'static str, Bytes)>,
    bytes: usize,
}

impl DataChannels {
    /// Both channels packets travel on are open.
    pub(crate) fn ready(&self) -> bool {
        self.open.contains(RELIABLE) && self.open.contains(LOSSY)
    }

    pub(crate) fn opened(&mut self, transport: TransportKey, label: &str, out: &mut Outputs) {
        // A client may open channels under any label; only ours are written to.
        if !is_ours(label) {
            return;
        }
        self.open.insert(label.to_owned());
        let (reliable, others) = (&mut self.reliable, &mut self.others);
        for (label, payload) in reliable.take(label).into_iter().chain(others.take(label)) {
            send(transport, label, payload, out);
        }
    }

    pub(crate) fn closed(&mut self, label: &str) {
        self.open.remove(label);
    }

    /// Sends, or keeps until the channel opens.
    pub(crate) fn send(
        &mut self,
        transport: Option<TransportKey>,
        label: &'static str,
        payload: Bytes,
        out: &mut Outputs,
    ) {
        if let Some(transport) = transport.filter(|_| self.open.contains(label)) {
            send(transport, label, payload, out);
        } else if label == RELIABLE {
            self.reliable.push_back(label, payload);
            let (messages, bytes) = (WAITING_DATA_MESSAGES_MAX, WAITING_DATA_BYTES_MAX);
            self.reliable.trim(messages, bytes);
        } else {
            self.others.push_back(label, payload);
            let (messages, bytes) = (WAITING_LOSSY_MESSAGES_MAX, WAITING_LOSSY_BYTES_MAX);
            self.others.trim(messages, bytes);
        }
    }

    /// Reliable messages ahead of those that wait, or at once.
    pub(crate) fn send_first(
        &mut self,
        transport: Option<TransportKey>,
        payloads: Vec<Bytes>,
        out: &mut Outputs,
    ) {
        let later = std::mem::take(&mut self.reliable);
        let later = later.messages.into_iter().map(|(_, payload)| payload);
        for payload in payloads.into_iter().chain(later) {
            self.send(transport, RELIABLE, payload, out);
        }
    }
}

impl Waiting {
    fn push_back(&mut self, label: &'static str, payload: Bytes) {
        self.bytes += payload.len();
        self.messages.push_back((label, payload));
    }

    fn trim(&mut self, messages: usize, bytes: usize) {
        while self.messages.len() > messages || self.bytes > bytes {
            let Some((_, dropped)) = self.messages.pop_front() else {
                break;
            };
            self.bytes -= dropped.len();
        }
    }

    /// Those for that channel.
    fn take(&mut self, channel: &str) -> Vec<(&'static str, Bytes)> {
        let all = std::mem::take(self).messages.into_iter();
        let (taken, left) = all.partition::<Vec<_>, _>(|(label, _)| *label == channel);
        for (label, payload) in left {
            self.push_back(label, payload);
        }
        taken
    }
}

/// Streams of our channels among those a client names. Clients name no channel of data tracks: it
/// is made right after the other two, on either side.
pub(crate) fn known<'a>(
    named: impl Iterator<Item = &'a proto::DataChannelInfo>,
) -> Vec<(u16, &'static str)> {
    let label = |name: &str| {
        [RELIABLE, LOSSY, DATA_TRACK]
            .into_iter()
            .find(|one| *one == name)
    };
    let known = named.filter_map(|one| Some((u16::try_from(one.id).ok()?, label(&one.label)?)));
    let mut known: Vec<_> = known.collect();
    let last = known.iter().map(|(stream, _)| *stream).max();
    if let Some(next) = last.and_then(|last| last.checked_add(2))
        && !known.iter().any(|(_, label)| *label == DATA_TRACK)
    {
        known.push((next, DATA_TRACK));
    }
    known
}

fn is_ours(label: &str) -> bool {
    [RELIABLE, LOSSY, DATA_TRACK].contains(&label)
}

fn send(transport: TransportKey, label: &str, payload: Bytes, out: &mut Outputs) {
    out.command(Command::SendData {
        transport,
        label: label.to_owned(),
        payload,
        binary: true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::contract::MediaOutput;

    const TRANSPORT: TransportKey = TransportKey(1);

    fn sent(out: &mut Outputs) -> Vec<(String, Bytes)> {
        let mut sent = Vec::new();
        while let Some(output) = out.pop() {
            if let MediaOutput::Shard(Command::SendData { label, payload, .. }) = output {
                sent.push((label, payload));
            }
        }
        sent
    }

    #[test]
    fn messages_wait_in_order_for_their_channel() {
        let (mut channels, mut out) = (DataChannels::default(), Outputs::new(true));
        for (label, text) in [(RELIABLE, "1"), (LOSSY, "2"), (RELIABLE, "3")] {
            channels.send(None, label, Bytes::from(text), &mut out);
        }
        assert!(sent(&mut out).is_empty());
        channels.opened(TRANSPORT, RELIABLE, &mut out);
        let texts: Vec<_> = sent(&mut out).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["1", "3"]);
        assert!(!channels.ready());
        channels.opened(TRANSPORT, LOSSY, &mut out);
        assert!(channels.ready());
        assert_eq!(sent(&mut out).len(), 1);
    }

    #[test]
    fn the_oldest_go_when_too_much_waits() {
        let (mut channels, mut out) = (DataChannels::default(), Outputs::new(true));
        for number in 0..WAITING_DATA_MESSAGES_MAX + 5 {
            channels.send(None, RELIABLE, Bytes::from(number.to_string()), &mut out);
        }
        let half = Bytes::from(vec![0; WAITING_DATA_BYTES_MAX / 2 + 1]);
        channels.send(None, RELIABLE, half.clone(), &mut out);
        channels.send(None, RELIABLE, half, &mut out);
        channels.opened(TRANSPORT, RELIABLE, &mut out);
        assert_eq!(sent(&mut out).len(), 1);
    }

    #[test]
    fn what_is_sent_again_goes_first_and_lossy_messages_push_nothing_reliable_out() {
        let (mut channels, mut out) = (DataChannels::default(), Outputs::new(true));
        channels.send(None, RELIABLE, Bytes::from("3"), &mut out);
        for _ in 0..WAITING_DATA_MESSAGES_MAX {
            channels.send(None, DATA_TRACK, Bytes::from("frame"), &mut out);
        }
        let again = vec![Bytes::from("1"), Bytes::from("2")];
        channels.send_first(Some(TRANSPORT), again, &mut out);
        assert!(sent(&mut out).is_empty());
        channels.opened(TRANSPORT, RELIABLE, &mut out);
        let texts: Vec<_> = sent(&mut out).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["1", "2", "3"]);
        channels.opened(TRANSPORT, DATA_TRACK, &mut out);
        assert_eq!(sent(&mut out).len(), WAITING_LOSSY_MESSAGES_MAX);
        channels.send_first(Some(TRANSPORT), vec![Bytes::from("4")], &mut out);
        assert_eq!(sent(&mut out).len(), 1);
    }
}
