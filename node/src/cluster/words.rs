//! What a client said on its way to its room's home: a queue of one session, bounded in messages
//! and in bytes. `lobby` fills it, `gateway_session` empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use consensus::ids::Epoch;
use protocol::proto::signal_request;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::limits::{WORDS_WAITING_BYTES_MAX, WORDS_WAITING_MAX};
use super::unanswered::Unanswered;

/// What the lobby passes on.
#[derive(Debug)]
pub(super) enum Word {
    Signal(Box<signal_request::Message>),
    /// The WebSocket is gone.
    Closed,
    /// The room is not where it was under this epoch.
    Moved(Epoch),
    /// This gateway stops: another carries the session on.
    Resume,
}

impl Word {
    fn bytes(&self) -> usize {
        match self {
            Self::Signal(message) => message.encoded_len(),
            Self::Closed | Self::Moved(_) | Self::Resume => 0,
        }
    }
}

/// The lobby's end.
pub(super) struct Mouth {
    words: mpsc::Sender<Word>,
    waiting: Arc<AtomicUsize>,
}

/// The session's end.
pub(super) struct Words {
    words: mpsc::Receiver<Word>,
    waiting: Arc<AtomicUsize>,
    /// Looked at already, and not heard yet.
    held: Option<Word>,
    /// Of what was heard.
    pub(super) unanswered: Unanswered,
}

pub(super) fn queue() -> (Mouth, Words) {
    // overflow: the session ends, and its client comes back
    let (sender, receiver) = mpsc::channel(WORDS_WAITING_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let mouth = Mouth {
        words: sender,
        waiting: Arc::clone(&waiting),
    };
    let words = Words {
        words: receiver,
        waiting,
        held: None,
        unanswered: Unanswered::default(),
    };
    (mouth, words)
}

impl Mouth {
    /// `false`: it is full, or nobody listens.
    pub(super) fn say(&self, word: Word) -> bool {
        let bytes = word.bytes();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let fits = bytes == 0 || waiting.saturating_add(bytes) <= WORDS_WAITING_BYTES_MAX;
        let said = fits && self.words.try_send(word).is_ok();
        if !said {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        said
    }
}

impl Words {
    /// `None`: nothing more will be said.
    pub(super) async fn recv(&mut self) -> Option<Word> {
        let word = match self.held.take() {
            Some(word) => word,
            None => self.words.recv().await?,
        };
        self.waiting.fetch_sub(word.bytes(), Ordering::Relaxed);
        if let Word::Signal(message) = &word {
            self.unanswered.asked(Instant::now(), message);
        }
        Some(word)
    }

    /// The next word unless it is the client's: those wait until somebody can hear them, and so
    /// does what comes behind. Nothing is lost where this is dropped.
    pub(super) async fn other_than_signals(&mut self) -> Option<Word> {
        if self.held.is_none() {
            match self.words.recv().await? {
                signal @ Word::Signal(_) => self.held = Some(signal),
                other => return Some(other),
            }
        }
        std::future::pending().await
    }

    /// The next word for a home, or for one that is `deaf`.
    pub(super) async fn for_one(&mut self, deaf: bool) -> Option<Word> {
        match deaf {
            true => self.other_than_signals().await,
            false => self.recv().await,
        }
    }

    /// What was said and not heard yet.
    pub(super) fn next(&mut self) -> Option<Word> {
        let held = self.held.take();
        held.or_else(|| self.words.try_recv().ok())
    }

    /// Nobody will say anything.
    pub(super) fn is_closed(&self) -> bool {
        self.words.is_closed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::proto;

    use super::*;

    fn metadata(bytes: usize) -> Word {
        let update = proto::UpdateParticipantMetadata {
            metadata: "m".repeat(bytes),
            ..Default::default()
        };
        Word::Signal(Box::new(signal_request::Message::UpdateMetadata(update)))
    }

    #[tokio::test]
    async fn what_the_client_says_waits_for_who_can_hear_it_and_the_end_does_not() {
        let (mouth, mut words) = queue();
        assert!(mouth.say(metadata(1)) && mouth.say(Word::Closed));
        let other = words.other_than_signals();
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, other).await.is_err());
        assert!(matches!(words.recv().await, Some(Word::Signal(_))));
        assert!(matches!(
            words.other_than_signals().await,
            Some(Word::Closed)
        ));
    }

    #[tokio::test]
    async fn few_large_messages_fill_the_queue_as_many_small_ones_do() {
        let (mouth, mut words) = queue();
        let large = 2 << 20;
        let mut fitted = 0;
        while mouth.say(metadata(large)) {
            fitted += 1;
        }
        assert_eq!(fitted, WORDS_WAITING_BYTES_MAX / large - 1);
        assert!(mouth.say(Word::Moved(Epoch(1))), "the end is always heard");
        assert!(matches!(words.recv().await, Some(Word::Signal(_))));
        assert!(mouth.say(metadata(large)), "what was heard makes room");
        drop(mouth);
        while words.recv().await.is_some() {}
        assert!(words.is_closed());
    }
}
