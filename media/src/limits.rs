//! Bounds of the packet plane, each with the reason for its size. Everything that grows on behalf
//! of a peer is limited by a constant of this file.

use std::time::Duration;

/// Candidate pairs of one transport: a client with several interfaces, IPv4 and IPv6, UDP and TCP
/// shows about ten; beyond this new addresses are ignored until old pairs go.
pub const ICE_MAX_PAIRS: usize = 32;
/// Remote candidates kept for priorities and for active checks.
pub const ICE_MAX_REMOTE_CANDIDATES: usize = 64;
/// Connectivity checks in flight; the oldest is forgotten first.
pub const ICE_MAX_TRANSACTIONS: usize = 64;
/// First check interval of a pair that has not answered yet; doubles up to `ICE_CHECK_MAX`.
pub const ICE_CHECK_MIN: Duration = Duration::from_millis(100);
/// Slowest check interval of a pair that has not answered yet.
pub const ICE_CHECK_MAX: Duration = Duration::from_millis(800);
/// Unanswered checks after which a pair is given up until the peer checks it again.
pub const ICE_MAX_UNANSWERED: u32 = 12;
/// Consent check of the selected pair; RFC 7675 asks for less than 30 s, LiveKit uses 2 s.
pub const ICE_KEEPALIVE: Duration = Duration::from_secs(2);
/// Keep-alive of valid pairs that are not selected, so that NAT bindings stay.
pub const ICE_KEEPALIVE_SPARE: Duration = Duration::from_secs(8);
/// Silence after which a transport is `Disconnected` (LiveKit: rtc/transport.go).
pub const ICE_DISCONNECTED: Duration = Duration::from_secs(10);
/// Silence after `Disconnected` that makes it `Failed`.
pub const ICE_FAILED: Duration = Duration::from_secs(5);
/// Time without an answered check after which nothing is sent on a pair (RFC 7675 §5.1).
pub const ICE_CONSENT: Duration = Duration::from_secs(30);
/// Time from the remote description to a selected pair; the control plane gives up earlier.
pub const ICE_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long credentials from before an ICE restart are still answered once the new pair carries.
pub const ICE_OLD_CREDENTIALS: Duration = Duration::from_secs(5);

/// Time a DTLS handshake may take (LiveKit: 60 s).
pub const DTLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// The library's retransmission timer as a server. It gives up after seven, so this sets how long
/// a client may be silent in the middle of a handshake (half a minute); losses are mended earlier
/// by verbatim repeats and by the client's own timer.
pub const DTLS_SERVER_FLIGHT_INTERVAL: Duration = Duration::from_secs(4);
/// The same as a client: the server answers to these, so they have to come sooner.
pub const DTLS_CLIENT_FLIGHT_INTERVAL: Duration = Duration::from_secs(1);
/// Verbatim repeats of an unanswered flight ahead of the library's timer.
pub const DTLS_EARLY_REPEATS: [Duration; 5] = [
    Duration::from_millis(150),
    Duration::from_millis(350),
    Duration::from_millis(650),
    Duration::from_millis(1_300),
    Duration::from_millis(2_300),
];
/// DTLS datagrams of one handshake flight kept for early repeats.
pub const DTLS_MAX_FLIGHT_DATAGRAMS: usize = 16;
/// Longest handshake message in bytes: a long certificate chain; ClientHellos are below 2 KiB.
pub const DTLS_MAX_HANDSHAKE_BYTES: usize = 16 * 1024;
/// Handshake messages of one side, numbered from 0: five are usual, a retried hello adds one.
pub const DTLS_MAX_MESSAGES: usize = 32;
/// Fragments taken of one handshake message, repeats included. The library puts them together by
/// recursion, so this bounds its stack.
pub const DTLS_MAX_MESSAGE_FRAGMENTS: u16 = 128;
/// Longest encrypted Finished in bytes: 24 in clear, beside nonce, tag and padding.
pub const DTLS_MAX_FINISHED_BYTES: usize = 128;
/// Records that may wait for keys, and repeats of an encrypted Finished: several flights' worth.
pub const DTLS_MAX_EARLY_RECORDS: usize = 64;
/// Bytes of such records, some forty datagrams.
pub const DTLS_MAX_EARLY_BYTES: usize = 64 * 1024;
/// Decrypted records that wait for the peer's description.
pub const DTLS_MAX_RECEIVED_RECORDS: usize = 64;

/// Incoming SRTP streams of one transport; the least recently used one is replaced.
pub const SRTP_MAX_STREAMS_IN: usize = 1_024;
/// Outgoing SRTP streams of one transport. They are never forgotten (an index must not be used
/// twice), so a subscriber of a long, lively meeting needs many; 150 bytes each. The transport
/// fails when they are used up, and its successor begins anew.
pub const SRTP_MAX_STREAMS_OUT: usize = 16_384;
/// How long a followed transport can go on without an acknowledgement of its standby: longer than a
/// cluster takes to notice that the standby is gone. Leases are renewed when half of it is left.
pub const LEASE_SPAN: Duration = Duration::from_secs(4);
/// Pause after which numbers are asked for again: what asked for them may be lost, and the standby
/// says so when it sees the next one.
pub const LEASE_RETRY: Duration = Duration::from_secs(1);
/// Fewest numbers leased at a time: a large key frame of a stream that stood still.
pub const NUMBERS_LEASED_MIN: u64 = 512;
/// Most numbers leased at a time. A receiver has to find the roll-over behind a lease, so it stays
/// well below the half of 65,536.
pub const NUMBERS_LEASED_MAX: u64 = 16_384;
/// Sequence numbers from 0 a stream begins within, so that a standby that was not told of it can
/// begin behind what it may have sent, with the roll-over its receiver takes for granted.
pub const FIRST_SEQUENCE_SPAN: u64 = 4_096;
/// Packets a stream may send before its standby knows of it: some seconds of a fast one.
pub const UNKNOWN_STREAM_LEASE: u64 = 4_096;
/// An index of a stream we receive moved by this much: the standby is told, long before it could
/// mistake the roll-over (half of 65,536).
pub const RECEIVED_INDEX_TOLD: u64 = 8_192;
/// Added to the last nomination known of a primary when its standby nominates: it may have made
/// some more since.
pub const NOMINATION_TAKEOVER_STEP: u32 = 1 << 16;
/// How long a standby that its client did not reach waits before it asks for a new image, with
/// which it and the home try again. libwebrtc keeps a path to a node that was the home before for
/// 30 s after it last heard of it, and takes no other path to the same address as long.
pub const STANDBY_RETRY: Duration = Duration::from_secs(33);
/// How far the candidates of each standby are above those of the one before: more than a node has
/// addresses, so that clients that only ever move upwards (Firefox) follow every takeover.
pub const STANDBY_PRIORITY_STEP: u32 = 64;
/// A standby is told again where down tracks stand, so that it can guess what was sent since.
pub const CONTINUATION_RENEWED: Duration = Duration::from_secs(30);
/// Least time between two images of one transport: each is a kilobyte or two.
pub const IMAGE_PAUSE: Duration = Duration::from_millis(500);
/// A standby that did not answer whether it can read images is asked again after this.
pub const PROBE_RETRY: Duration = Duration::from_secs(5);
/// A standby that acknowledges nothing for so long is to be replaced, a moment before the numbers
/// it granted are used up: they last `LEASE_SPAN` / 2 when more are asked for.
pub const STANDBY_SILENT: Duration = Duration::from_millis(1_500);
/// How long a client may take to answer at the standby that took over, before it is told to resume.
pub const TAKEOVER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client that followed may take to let its data channels begin anew. Some never do
/// (pion drops the INIT of an association that it takes for established) and have to start over.
pub const CHANNELS_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take to reach a new standby before it counts as not protected.
pub const STANDBY_GRACE: Duration = Duration::from_secs(10);
/// SSRCs of a transport that a standby is told of.
pub const FOLLOWED_SSRCS_MAX: usize = 4_096;
/// Added to the last transport-wide number told: what a primary sends until it tells again.
pub const TRANSPORT_CC_STEP: u16 = 8_192;
/// Checks of a dormant pair: keeps it, and a NAT's binding, warm.
pub const ICE_KEEPALIVE_DORMANT: Duration = Duration::from_secs(1);
/// Checks a standby that takes over sends in quick succession, and their pause: one that is lost
/// must not cost the client a tenth of a second.
pub const TAKEOVER_CHECKS: u8 = 4;
pub const TAKEOVER_CHECK_PAUSE: Duration = Duration::from_millis(20);
/// Pairs of a dormant transport: a client shows one an interface and address family.
pub const ICE_MAX_PAIRS_DORMANT: usize = 8;

/// Bytes of DTLS sent to an address that has not answered a check yet, per byte that came from it
/// (the factor of QUIC, RFC 9000 §8.1): it may be somebody else's.
pub const DTLS_UNPROVED_FACTOR: usize = 3;
/// A DTLS server's wait for the peer's INIT before it sends its own: DTLS clients send theirs at
/// once, so this only helps a peer that waits too.
pub const SCTP_INIT_GRACE: Duration = Duration::from_millis(1_000);
/// Longest pause between two tries to get unacknowledged data through: the library's grows to 60 s.
pub const SCTP_RETRY_MAX: Duration = Duration::from_secs(2);
/// `a=max-message-size` we advertise, in bytes (LiveKit reads with 65535).
pub const SCTP_MAX_MESSAGE_BYTES: u32 = 65_535;
/// Unread bytes a peer may have in flight; dcsctp advertises 5 MiB, usrsctp 1 MiB.
pub const SCTP_RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unsent bytes of a lossy channel beyond which its messages are dropped.
pub const SCTP_MAX_LOSSY_BUFFERED_BYTES: usize = 256 * 1024;
/// Unsent bytes of a reliable channel beyond which its messages are dropped and counted.
pub const SCTP_MAX_RELIABLE_BUFFERED_BYTES: usize = 16 * 1024 * 1024;
/// TSNs a peer may be ahead of what we acknowledged: our window is far below this many packets of
/// ordinary size, and no smaller messages come by the thousand in one round trip.
pub const SCTP_TSN_WINDOW: i32 = 16_384;
/// DATA chunks waiting to become messages we read: a whole `SCTP_TSN_WINDOW` behind one loss.
pub const SCTP_MAX_FRAGMENTS: usize = 16_384;
/// Streams of one association: the channels of `SCTP_MAX_CHANNELS`, and some about to be refused.
pub const SCTP_MAX_STREAMS: usize = 2 * SCTP_MAX_CHANNELS;
/// Requests to reset streams that wait for data on its way.
pub const SCTP_MAX_RESETS: usize = 64;
/// Data channels of one transport, both sides' together.
pub const SCTP_MAX_CHANNELS: usize = 64;
/// Longest label of a data channel in bytes (RFC 8832 allows 65535).
pub const SCTP_MAX_LABEL_BYTES: usize = 256;

/// Longest frame on an ICE-TCP connection: RFC 4571 has a 16-bit length, packets are below the
/// path MTU, DTLS records below 2^14.
pub const TCP_MAX_FRAME_BYTES: usize = 16 * 1024 + 256;

/// Arrivals one transport-wide feedback covers; at 100 ms between them this is 20,000 packets a
/// second.
pub const FEEDBACK_MAX_PENDING: usize = 2_000;
/// Received packets told in one feedback packet, so that it stays below the MTU.
pub const FEEDBACK_MAX_DELTAS: usize = 400;

/// Longest session description read. A section of Chromium takes 6 KiB: room for 300 of them.
pub const SDP_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Sections of one peer connection; a gallery of hundreds still fits.
pub const SDP_MAX_SECTIONS: usize = 1_024;
/// Lines of one section; Chromium's longest has about 250.
pub const SDP_MAX_SECTION_LINES: usize = 2_048;
/// Payload types of one section: the number space has 128.
pub const SDP_MAX_PAYLOAD_TYPES: usize = 128;
/// Simulcast layers of one section: those a track can have.
pub const SDP_MAX_RIDS: usize = LAYERS_MAX;
/// SSRCs of one section: layers, their retransmissions, and as many again.
pub const SDP_MAX_SSRCS: usize = 32;
/// Header extensions of one section; Chromium offers fifteen.
pub const SDP_MAX_EXTENSIONS: usize = 64;
/// Remote candidates read from one description.
pub const SDP_MAX_CANDIDATES: usize = ICE_MAX_REMOTE_CANDIDATES;
/// Longest mid, RID, stream id or track id in bytes: they are copied into signalling messages.
pub const SDP_MAX_TOKEN_BYTES: usize = 256;
/// Longest format parameters of one payload type in bytes: they are copied into answers.
pub const SDP_MAX_FMTP_BYTES: usize = 1_024;
/// Senders of a single connection that wait for a section of the client.
pub const SDP_MAX_WAITING_SENDERS: usize = 1_024;
/// Lists of payloads a new one is compared with, to be kept once: clients have a handful.
pub const SDP_PAYLOAD_LISTS_COMPARED: usize = 32;
/// Spatial layers of one track: LiveKit's clients send three, one is spare.
pub const LAYERS_MAX: usize = 4;
/// Silence after which a layer counts as switched off; three missed frames at 3 fps.
pub const LAYER_SILENCE: Duration = Duration::from_millis(1_000);
/// Silence of a layer after which another SSRC may take its place at once; a sender that changes
/// its SSRC stops the old one first.
pub const LAYER_TAKEOVER: Duration = Duration::from_millis(500);
/// The same for a single-stream track or a screen, whose still picture sends little.
pub const LAYER_SILENCE_SCREEN: Duration = Duration::from_millis(5_000);
/// Sequence numbers off the highest seen beyond which a stream is taken to have restarted when the
/// next number follows (RFC 3550 A.1 has 3000 forward).
pub const SEQUENCE_JUMP_MAX: u64 = 3_000;

/// Packet slots of a layer to begin with; a power of two.
pub const CACHE_PACKETS_MIN: usize = 64;
/// Bytes of a layer's packets to begin with: half a second of audio.
pub const CACHE_BYTES_MIN: usize = 16 * 1024;
/// Bytes of a layer's packets at most: a second at 8 Mbit/s.
pub const CACHE_BYTES_MAX: usize = 1024 * 1024;
/// A cache that is too small becomes so much larger than the retention takes at its rate.
pub const CACHE_GROWTH_SLACK: f32 = 1.125;
/// Least growth of a cache that grows.
pub const CACHE_GROWTH_MIN: f32 = 1.25;
/// Most at once: a key frame is not the rate.
pub const CACHE_GROWTH_MAX: f32 = 2.0;
/// A cache that grew so lately is in the middle of a burst.
pub const CACHE_GROWTH_BURST: Duration = Duration::from_millis(100);
/// Time packets should stay for retransmission: several round trips across continents.
pub const CACHE_RETENTION: Duration = Duration::from_millis(1_000);

/// Missing packets tracked per layer (LiveKit: 100); with more missing a key frame is cheaper.
pub const NACK_QUEUE_MAX: usize = 100;
/// Times one packet is asked for (LiveKit: 5).
pub const NACK_TRIES_MAX: u8 = 5;
/// Wait before the first request: most gaps are reordering and close by themselves.
pub const NACK_REORDER_DELAY: Duration = Duration::from_millis(10);
/// Shortest and longest wait between two requests for one packet (LiveKit: 20–400 ms).
pub const NACK_INTERVAL_MIN: Duration = Duration::from_millis(20);
pub const NACK_INTERVAL_MAX: Duration = Duration::from_millis(400);
/// Round trip assumed to a publisher while nothing tells it (LiveKit: 70 ms).
pub const RTT_DEFAULT: Duration = Duration::from_millis(70);

/// Packets of unknown streams kept per transport: a key frame and some audio.
pub const PARKED_PACKETS_MAX: usize = 64;
/// Bytes of unknown streams kept per transport.
pub const PARKED_BYTES_MAX: usize = 64 * 1024;
/// How long they wait for their section and track; the command is a few milliseconds behind.
pub const PARKED_TIME: Duration = Duration::from_millis(1_000);
/// Media sections one transport may receive on or send on.
pub const SECTIONS_MAX: usize = SDP_MAX_SECTIONS;
/// SSRCs one publishing transport may bind: hundreds of tracks of three layers with repairs.
pub const SSRCS_MAX: usize = 1_024;

/// Renumbering changes remembered per down track for late packets: half a second of dropping every
/// second frame.
pub const OFFSET_RANGES_MAX: usize = 16;
/// Most a clock may disagree with the time between arrivals when a stream goes on; LiveKit: 2 s.
pub const TIMESTAMP_DRIFT_MAX: Duration = Duration::from_millis(2_000);
/// Packets remembered per down track for NACKs, to begin with and at most; powers of two.
pub const HISTORY_PACKETS_MIN: usize = 32;
pub const HISTORY_PACKETS_MAX: usize = 1_024;
/// Times one packet is repeated for one subscriber (LiveKit: 3).
pub const RETRANSMISSIONS_MAX: u8 = 3;
/// A repeat is not sent again before a round trip, nor before this (LiveKit: 100 ms).
pub const RETRANSMISSION_INTERVAL_MAX: Duration = Duration::from_millis(100);
/// Repeats queued per NACK packet; beyond it the subscriber is better served by a key frame.
pub const RETRANSMISSIONS_PER_NACK_MAX: usize = 200;
/// Packets waiting to be forwarded per transport; a batch of the worker is far smaller.
pub const SEND_QUEUE_PACKETS_MAX: usize = 2_048;
/// Datagrams of one run: GSO gains little beyond, and bursts cause loss.
pub const RUN_SEGMENTS_MAX: usize = 8;
/// Shortest and longest wait between two wishes of a down track for the same key frame.
pub const KEY_FRAME_RETRY_MIN: Duration = Duration::from_millis(200);
pub const KEY_FRAME_RETRY_MAX: Duration = Duration::from_millis(1_000);
/// Packets that carry the MID extension until the subscriber has surely learned it.
pub const MID_PACKETS: u64 = 100;
/// Largest datagram sent: what an Ethernet frame takes below IPv6 and UDP. Nothing is fragmented.
pub const DATAGRAM_BYTES_MAX: usize = 1_452;
/// Largest packet forwarded, in clear: a sealed one has 16 bytes more. Larger ones are dropped and
/// counted.
pub const PACKET_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 16;
/// Largest datagram that others follow in one run: the kernel refuses a whole run whose segments
/// exceed the path's MTU, and tunnels have some hundred bytes less than Ethernet.
pub const RUN_SEGMENT_BYTES_MAX: usize = 1_350;

/// Runs of one subscriber before others have their turn: a key frame leaves in several turns.
pub const TURN_RUNS_MAX: usize = 4;
/// REMB to begin with, at least and at most, bits per second.
pub const REMB_START_BPS: u64 = 2_000_000;
pub const REMB_MIN_BPS: u64 = 100_000;
pub const REMB_MAX_BPS: u64 = 20_000_000;
/// Estimates of a subscriber (REMB) below what it is sent, in a row, that make its path short.
pub const REMB_CONFIRMS: u32 = 3;
/// Traffic by which such a subscriber is helped to a larger estimate, per cent of the one it has.
pub const REMB_PROBE_PERCENT: u64 = 150;
/// Pace of NACKs, key-frame requests and other media timers while packets flow.
pub const MEDIA_TICK: Duration = Duration::from_millis(10);
/// The same while nothing flows: only once-a-second figures are due then.
pub const MEDIA_TICK_IDLE: Duration = Duration::from_millis(100);
/// Silence of a whole shard after which its ticks slow down.
pub const MEDIA_IDLE_AFTER: Duration = Duration::from_secs(2);
/// A timer that is due and stays due is served again after this.
pub const TIMER_REST: Duration = Duration::from_millis(1);
/// Media ticks between two transport-wide feedbacks to one publisher: 100 ms.
pub const FEEDBACK_TICKS: u64 = 10;
/// Media ticks between two reports to one peer: 1 s.
pub const REPORT_TICKS: u64 = 100;

/// TURN allocations of a node, whatever the relay range would hold: each costs a socket.
pub const TURN_ALLOCATIONS_MAX: usize = 8_192;
/// Lifetimes of an allocation, a permission and a channel (RFC 8656 §7.2, §9, §12).
pub const TURN_LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
pub const TURN_LIFETIME_MAX: Duration = Duration::from_secs(3_600);
pub const TURN_PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
pub const TURN_CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Permissions and channels of one allocation: one per candidate of ours, a handful.
pub const TURN_PERMISSIONS_MAX: usize = 64;
pub const TURN_CHANNELS_MAX: usize = 64;
/// A nonce is good for an hour, as RFC 8656 §4 advises.
pub const TURN_NONCE_LIFETIME: Duration = Duration::from_secs(3_600);
/// Longest username looked at: key, participant and expiry are below 100 bytes in base 62.
pub const TURN_USERNAME_BYTES_MAX: usize = 256;
/// Ports tried for one allocation when other programs hold some of the range.
pub const TURN_PORT_TRIES: u32 = 16;
/// Ended allocations are swept this often; their use ends at once.
pub const TURN_SWEEP: Duration = Duration::from_secs(1);
/// Bytes waiting to be polled; a turn of the socket loop brings at most one batch of receives.
pub const TURN_OUTBOX_BYTES_MAX: usize = 8 << 20;
/// Longest frame on a TURN stream: the payload is a datagram of ours, below 2 KiB.
pub const TURN_STREAM_FRAME_BYTES_MAX: usize = 16 << 10;
/// Answers to strangers of one network: a burst for an office that joins at nine, then a rate that
/// makes us a poor reflector.
pub const TURN_STRANGER_ANSWERS_BURST: u32 = 1_000;
pub const TURN_STRANGER_ANSWERS_PER_SECOND: u32 = 100;
/// Networks told apart by that limit.
pub const TURN_STRANGER_BUCKETS: usize = 1_024;

/// Sent packets remembered per subscriber until feedback tells of them, to begin with and at most
/// (powers of two, 16 bytes each): a second at 8,000 packets a second.
pub const SENT_PACKETS_MIN: usize = 256;
pub const SENT_PACKETS_MAX: usize = 8_192;
/// Feedback later than this after sending is of no use, microseconds.
pub const SENT_REMEMBERED_US: u64 = 1_000_000;
/// Bytes below RTP that count against a path: UDP and IPv4.
pub const DATAGRAM_OVERHEAD_BYTES: u16 = 28;
/// What a forwarded packet costs beyond its size as it came in: the layers below, and the seal.
pub const FORWARDED_OVERHEAD_BYTES: usize = 28 + 16;
/// Share of an estimate that repeats may use, per cent: enough for a quarter of all packets lost.
/// Beyond it they would only push out what they repair.
pub const REPEATS_PERCENT: u64 = 40;
/// The same behind a long queue, where most of them come too late.
pub const REPEATS_QUEUED_PERCENT: u64 = 15;
/// Repeats saved up for one burst of losses, milliseconds of that share.
pub const REPEATS_SAVED_MS: u64 = 250;
/// The lowest one-way delay counts for this long at least, microseconds: routes change and clocks
/// drift by a millisecond in that time.
pub const BASE_DELAY_SPAN_US: i64 = 10_000_000;

/// What a path is taken to carry until it shows otherwise (LiveKit's send-side estimate starts
/// with the same): more than two cameras in full size.
pub const ESTIMATE_START_BPS: u64 = 7_000_000;
/// The least a path is taken to carry: audio and the smallest picture.
pub const ESTIMATE_MIN_BPS: u64 = 50_000;
/// The most that is asked of one path.
pub const ESTIMATE_MAX_BPS: u64 = 200_000_000;
/// Share of the delivered rate that is sent after a queue built up (libwebrtc).
pub const DECREASE: f64 = 0.85;
/// The same while the queue is still short.
pub const DECREASE_EARLY: f64 = 0.9;
/// Standing queue that confirms a growing one, microseconds: while the path is known to be short,
/// and while it was not yet (a busy receiver must not cost a local call its quality).
pub const QUEUE_CONFIRMS_SHORT_US: i64 = 20_000;
pub const QUEUE_CONFIRMS_US: i64 = 45_000;
/// Standing queue that is too long whatever its trend, microseconds.
pub const QUEUE_STANDING_US: i64 = 40_000;
/// Decreases in vain after which a standing queue is somebody else's and not answered any more.
pub const QUEUE_STUBBORN: u32 = 3;
/// Share of the delivered rate that is left by then: behind a queue of our own all of it would be.
pub const QUEUE_SHARE_LEFT: f64 = 0.6;
/// How long such a queue is accepted before it is put to the test again, microseconds.
pub const QUEUE_ACCEPTED_US: u64 = 30_000_000;
/// Decreases this close to each other are one attempt to get rid of a queue, microseconds.
pub const QUEUE_SERIES_US: u64 = 15_000_000;
/// Time a queue must stand before it is answered, microseconds: key frames queue for a moment.
pub const QUEUE_TIME_US: u64 = 150_000;
/// A queue this much longer than tolerated is answered at once, microseconds.
pub const QUEUE_LONG_US: i64 = 120_000;
/// Share of the estimate that is distributed while a long queue stands, per cent: it is to get
/// shorter.
pub const QUEUED_BUDGET_PERCENT: u64 = 85;
/// A subscriber behind a queue gets a key frame it asks for this often at most: each of them makes
/// the queue longer.
pub const KEY_FRAME_QUEUED: Duration = Duration::from_millis(2_000);
/// A track that was stopped for lack of bandwidth waits this long at least (LiveKit: 5 s): each
/// beginning costs a key frame.
pub const PAUSED_MIN: Duration = Duration::from_millis(3_000);
/// Time after a decrease in which the path counts as short, microseconds.
pub const SHORT_TIME_US: u64 = 10_000_000;
/// Loss beyond the inherent that is looked into, and that is answered at once.
pub const LOSS_SUSPECT: f32 = 0.08;
pub const LOSS_CUT: f32 = 0.30;
/// Loss is never taken as a path's nature beyond this share.
pub const LOSS_INHERENT_MAX: f32 = 0.30;

/// Length of a probe, microseconds, and its least size: five padding packets.
pub const PROBE_TIME_US: u64 = 20_000;
pub const PROBE_BYTES_MIN: i64 = 1_600;
/// Rate of the first probe, before media: two thirds of a large picture, five kilobytes.
pub const PROBE_START_BPS: u64 = 2_000_000;
/// Length of a probe that looks for losses: packets enough to count.
pub const PROBE_LOSS_US: u64 = 300_000;
/// Wait between probes that found no room, microseconds: a few kilobytes each, and a wider path is
/// found within two seconds.
pub const PROBE_INTERVAL_MIN_US: u64 = 1_000_000;
pub const PROBE_INTERVAL_MAX_US: u64 = 2_000_000;
/// Where packets are lost instead of queued, the token bucket of a policer may hide the limit: a
/// probe is longer, goes less far (per cent of the estimate), and comes later, microseconds.
pub const PROBE_LOSSY_PERCENT: u64 = 130;
pub const PROBE_LOSSY_REST_US: u64 = 3_000_000;
pub const PROBE_LOSSY_REST_MAX_US: u64 = 12_000_000;
pub const PROBE_LONG_US: u64 = 600_000;
/// Rest after a decrease before the path is probed again, microseconds.
pub const PROBE_REST_US: u64 = 1_000_000;
/// A probe tries at most this multiple of the estimate.
pub const PROBE_FACTOR: u64 = 2;
/// Largest padding of one packet: its length has eight bits (RFC 3550 §5.1).
pub const PADDING_BYTES_MAX: usize = 255;

/// Pace towards a path that was never short: a run of eight full packets is a quarter of a
/// millisecond of it, and one subscriber's share of a saturated core is below it.
pub const PACE_OPEN_BPS: u64 = 400_000_000;
/// Pace towards a short path, in per cent of its estimate (libwebrtc: 2.5): frames leave in bursts
/// that a queue of some milliseconds takes.
pub const PACE_SHORT_PERCENT: u64 = 250;
/// The same where packets are lost, perhaps because a burst found no room.
pub const PACE_LOSSY_PERCENT: u64 = 150;
/// The same while a queue stands: it is to get shorter.
pub const PACE_QUEUED_PERCENT: u64 = 100;
/// Least pace where the smallest of everything is more than the estimate, in per cent of what is
/// sent: frames leave before the next ones come.
pub const PACE_FORCED_PERCENT: u64 = 150;
/// Wire time of one run at the pace, microseconds.
pub const PACE_RUN_US: u64 = 500;
/// Pace saved up while nothing waits, microseconds: the timers of a worker count milliseconds.
pub const PACE_SAVED_US: u64 = 1_000;
/// What waits is sent within this time whatever the estimate, microseconds: later it is no use.
pub const PACE_BACKLOG_US: u64 = 500_000;

/// Tracks of one subscriber that are divided bandwidth among without allocating.
pub const ALLOCATED_TRACKS_INLINE: usize = 16;
/// Spatial and temporal layers whose rates are measured.
pub const RATE_LAYERS: usize = 4;
/// What simulcast layers are taken to cost until they are measured, bits per second: the presets
/// of LiveKit's clients for 180, 360 and 720 lines.
pub const NOMINAL_LAYER_BPS: [u64; 3] = [150_000, 500_000, 1_700_000];
/// Priorities of tracks whose subscriber says nothing (LiveKit: streamallocator/track.go).
pub const PRIORITY_CAMERA: u8 = 1;
pub const PRIORITY_SCREEN: u8 = 255;
/// Redundant blocks a RED payload of ours carries (LiveKit: sfu/redreceiver.go).
pub const RED_BLOCKS_MAX: usize = 2;
/// Lengths in RED headers have ten bits (RFC 2198 §3).
pub const RED_BLOCK_BYTES_MAX: usize = 1_023;
/// A RED payload of ours: with its headers it stays below any MTU.
pub const RED_PAYLOAD_BYTES_MAX: usize = 1_100;
/// Packets before a RED packet that its redundant blocks may stand for.
pub const RED_RECOVERED_MAX: usize = 7;
/// One judgement of a stream's quality (LiveKit: connectionquality's update interval).
pub const QUALITY_WINDOW: Duration = Duration::from_secs(5);
/// Samples come about once a second: a window may be this much short.
pub const QUALITY_WINDOW_SLACK: Duration = Duration::from_millis(500);
/// Packets behind a late start of a key frame that are sent after it.
pub const KEY_FRAME_FOLLOWERS_MAX: u64 = 256;
/// The playout-delay extension has 12 bits of 10 ms for each bound.
pub const PLAYOUT_DELAY_MAX_MS: u32 = 40_950;
/// Upper bound where a room sets only the lower one (LiveKit: sfu/playoutdelay.go).
pub const PLAYOUT_DELAY_OPEN_MS: u32 = 10_000;
/// Change of the delay per second: more would be heard.
pub const PLAYOUT_DELAY_STEP_MS: u32 = 80;
/// Packets of each track that carry a new playout delay: some get lost.
pub const PLAYOUT_DELAY_PACKETS: u32 = 100;

/// Links of one shard: the other shards of its process, and shards of other nodes it ever shared a
/// room with; an idle one is a hundred bytes.
pub const RELAY_LINKS_MAX: usize = 4_096;
/// One block of frames between shards: a key frame; a few of them are under way at a time.
pub const RELAY_BLOCK_BYTES: usize = 32 * 1024;
/// Longest frame: the largest packet that is kept, with the head of the frame and extensions.
pub const RELAY_FRAME_BYTES_MAX: usize = PACKET_BYTES_MAX + 128;
/// Packets waiting for one link between two turns; a batch of the worker is far smaller.
pub const RELAY_QUEUE_PACKETS_MAX: usize = 4_096;
/// Numbers of one NACK on a link: all a layer can miss.
pub const RELAY_NACKED_MAX: usize = NACK_QUEUE_MAX;
/// States and wishes are told this often even without news: the frame before may be lost.
pub const RELAY_REPEAT_INTERVAL: Duration = Duration::from_millis(1_000);
/// The same for who does not know the track yet.
pub const RELAY_ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Least time between two key-frame requests for one layer on a link: the publisher's throttle is
/// at its other end.
pub const RELAY_KEY_FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// Round trip of a link between two shards: two turns and a tick.
pub const RELAY_RTT: Duration = Duration::from_millis(20);
