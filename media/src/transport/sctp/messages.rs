//! Channels and messages on an association that is up: opening, accepting, reading.

use std::time::Instant;

use bytes::Bytes;
use rtc_sctp::PayloadProtocolIdentifier as Ppid;

use super::Sctp;
use crate::limits::{SCTP_MAX_LABEL_BYTES, SCTP_MAX_MESSAGE_BYTES};
use crate::transport::TransportEvent;
use crate::transport::channels::{Channel, Dcep, Delivery};
use crate::transport::guard::guarded;

impl Sctp {
    pub(super) fn open_wanted(&mut self, now: Instant) {
        let Some(running) = self.current.as_mut().filter(|running| running.established) else {
            return;
        };
        for (label, delivery) in std::mem::take(&mut self.wanted) {
            let channel = Channel {
                stream: self.channels.free_stream(self.is_client),
                label,
                delivery,
                open: false,
            };
            if self.channels.add(channel.clone()) {
                running.open_stream(&channel);
                running.send_open(now, &channel);
            }
        }
    }

    /// A channel of an earlier association that the peer has kept: nobody opens it.
    pub(in crate::transport) fn adopt_channel(
        &mut self,
        stream: u16,
        label: &str,
        delivery: Delivery,
    ) {
        let channel = Channel {
            stream,
            label: label.to_owned(),
            delivery,
            open: true,
        };
        if label.len() > SCTP_MAX_LABEL_BYTES || self.channels.has_label(label) {
            return;
        }
        if self.channels.add(channel) {
            self.adopted.push(stream);
            let opened = guarded(|| self.open_adopted());
            self.survive(opened);
        }
    }

    pub(super) fn open_adopted(&mut self) {
        let Some(running) = self.current.as_mut().filter(|running| running.established) else {
            return;
        };
        for stream in std::mem::take(&mut self.adopted) {
            if let Some(channel) = self.channels.get(stream) {
                running.open_stream(channel);
                self.events.push_back(TransportEvent::ChannelOpen {
                    label: channel.label.clone(),
                });
            }
        }
    }

    pub(super) fn read(&mut self, now: Instant, id: u16) {
        loop {
            let Some(running) = self.current.as_mut().filter(|running| running.established) else {
                return;
            };
            let Ok(mut stream) = running.association.stream(id) else {
                return;
            };
            let Ok(Some(message)) = stream.read_sctp() else {
                return;
            };
            running.screen.read(message.chunks.len());
            let ppid = message.ppi;
            let Ok(payload) = message.to_payload(SCTP_MAX_MESSAGE_BYTES as usize * 4) else {
                continue;
            };
            match ppid {
                Ppid::Dcep => self.handle_dcep(now, id, &payload),
                Ppid::String => self.deliver(id, payload.freeze(), false),
                Ppid::Binary => self.deliver(id, payload.freeze(), true),
                Ppid::StringEmpty => self.deliver(id, Bytes::new(), false),
                Ppid::BinaryEmpty => self.deliver(id, Bytes::new(), true),
                _ => {}
            }
        }
    }

    fn deliver(&mut self, id: u16, payload: Bytes, binary: bool) {
        self.opened(id);
        // Data that overtakes its channel's OPEN can only be lossy data: it is dropped.
        if let Some(channel) = self.channels.get(id) {
            self.events.push_back(TransportEvent::Data {
                label: channel.label.clone(),
                payload,
                binary,
            });
        }
    }

    fn handle_dcep(&mut self, now: Instant, id: u16, raw: &[u8]) {
        match Dcep::parse(raw) {
            Some(Dcep::Ack) => self.opened(id),
            Some(Dcep::Open { label, delivery }) => {
                let added = self.channels.add(Channel {
                    stream: id,
                    label,
                    delivery,
                    open: false,
                });
                let Some(channel) = self.channels.get(id).cloned() else {
                    return self.refuse(now, id);
                };
                if let Some(running) = &mut self.current {
                    running.set_delivery(&channel);
                    running.write_dcep(now, id, &Dcep::Ack);
                }
                if added {
                    self.opened(id);
                }
            }
            None => self.refuse(now, id),
        }
    }

    fn refuse(&mut self, now: Instant, id: u16) {
        if let Some(running) = &mut self.current
            && let Ok(mut stream) = running.association.stream(id)
        {
            let _ = stream.close(now);
        }
    }

    pub(super) fn opened(&mut self, id: u16) {
        if let Some(channel) = self.channels.get_mut(id)
            && !channel.open
        {
            channel.open = true;
            self.events.push_back(TransportEvent::ChannelOpen {
                label: channel.label.clone(),
            });
        }
    }
}
