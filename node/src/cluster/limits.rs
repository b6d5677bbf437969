//! Bounds of the cluster plane, each with the reason for its size.

use std::time::Duration;

/// Bytes under way in one direction of a stream within the process; as a socket's buffer.
pub const PIPE_BYTES_MAX: usize = 64 << 10;

/// One request or answer between nodes, but for raft's, which carry snapshots: above the largest
/// body of the server API (10 MiB) with what is said of it.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A question whether a node lives, and the answer: some dozens of bytes.
pub const LIVE_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Why a node refused, as text.
pub const REFUSAL_BYTES_MAX: usize = 4 << 10;
/// Streams one peer may have open on a connection at first: QUIC keeps a place for each. Whoever
/// uses half of what it may is allowed twice as many, up to the most of the plane.
pub const STREAMS_AT_FIRST: u32 = 128;
/// Streams one peer may have open on one connection: a session of each client a gateway carries.
pub const STREAMS_MAX: u32 = 32_768;
/// Raft's calls at once on one connection: it has a few under way for each peer.
pub const RAFT_STREAMS_MAX: u32 = 1_024;
/// Questions at once whether a node lives.
pub const LIVE_STREAMS_MAX: u32 = 1_024;
/// Unread bytes of one stream: a reader that is this far behind stops the writer.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Unread bytes of all streams of one connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Handshakes that are not over; every node of the largest cluster may dial at once.
pub const HANDSHAKES_MAX: usize = 2_048;
/// While more are under way, a stranger first proves that its address is its own: a round trip
/// more, which nodes that all start at once bear.
pub const HANDSHAKES_UNPROVEN_MAX: usize = 64;
/// Handshakes a second of addresses that prove nothing, all together: what they cost is some
/// percent of a core. Beyond it too a stranger proves its address first.
pub const UNPROVEN_PER_SECOND: u32 = 128;
/// Handshakes a network may begin each second, beyond those that turn out to be of nodes,
pub const HANDSHAKES_PER_SECOND: u32 = 20;
/// and at once: all nodes of a site behind one address, each with its connections, start together.
pub const HANDSHAKES_BURST: u32 = 512;
/// Refused connections are all counted, and one is told this often: strangers must not fill disks.
pub const REFUSAL_LOG: Duration = Duration::from_secs(10);

/// A silent connection is spoken on this often, so that a dead host is noticed and a firewall
/// keeps its entry.
pub const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// A connection that hears nothing for this long is dead. Hosts are found dead sooner, by what
/// watches nodes; a stalled process must not lose its clients' streams.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// A handshake that takes longer has failed: a few round trips over any distance.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `open` waits for the other side to take the stream.
pub const OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// What a round trip is taken for until it was measured: nodes of one site.
pub const INITIAL_RTT: Duration = Duration::from_millis(20);
/// A name is looked up for at most this long.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Secrets accepted beside the node's own: one is enough to exchange it.
pub const ACCEPTED_TOKENS_MAX: usize = 4;
/// A shorter secret of a cluster can be guessed; `skein cluster token` makes longer ones.
pub const TOKEN_CHARS_MIN: usize = 32;

/// Between two tries to enter or to register: long enough not to flood the log of those who wait.
pub const MEMBERSHIP_RETRY: Duration = Duration::from_millis(500);
/// How long a master has to answer about membership; taking somebody in is a commit.
pub const MEMBERSHIP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the first entries may take after somebody was taken in; then it asks again.
pub const ENTRY_PATIENCE: Duration = Duration::from_secs(10);
/// A node that was declared dead although it lives waits before it takes work again: at first so
/// long,
pub const RETURN_PAUSE: Duration = Duration::from_secs(5);
/// twice as long after each further time, up to this,
pub const RETURN_PAUSE_MAX: Duration = Duration::from_secs(300);
/// until it was well for this long: a bad link drops what it carries again and again.
pub const RETURN_FORGIVEN: Duration = Duration::from_secs(3_600);
/// Who waits for no longer is not in trouble.
pub const QUIET_WAIT: Duration = Duration::from_secs(5);
/// What a node waits for is said again after this.
pub const REPEAT_LOG: Duration = Duration::from_secs(30);
/// How long a leader that stops waits for another to lead; two elections.
pub const HANDOVER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a node that stops tries to tell the log: an election, and a commit. Who is not told
/// finds out.
pub const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long connections have to say goodbye.
pub const STOP_PATIENCE: Duration = Duration::from_millis(500);
/// Kernel buffer of the cluster endpoint: a snapshot comes as fast as the network carries it.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// A room's new place is waited for this long: an election takes half a second, a slow one with
/// lost votes a few; clients give up after 10 s and more.
pub const PLACE_PATIENCE: Duration = Duration::from_secs(5);
/// The leader's answer: one commit. One that hangs is asked again, as another may lead by then.
pub const PLACE_CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two questions to a leader that is not there yet.
pub const LEADER_RETRY: Duration = Duration::from_millis(25);
/// Explanations of placements the leader keeps; about 500 bytes each.
pub const EXPLANATIONS_MAX: usize = 10_000;
/// A room that was just placed is in no heartbeat yet, and a burst of rooms must not all go to the
/// node that was idle a second ago: it is taken for this share of the node's CPUs
pub const PENDING_ROOM_CPU: f64 = 0.02;
/// for as long as two heartbeats take,
pub const PENDING_ROOM_LASTS: Duration = Duration::from_secs(2);
/// and this many rooms are remembered: more a second than one leader places.
pub const PENDING_ROOMS_MAX: usize = 65_536;

/// A home that does not know yet what a gateway knows waits this long for the log, and for the end
/// of the room's earlier life, which takes a commit. So does a gateway that knows of nobody who
/// could go on with its client; an election fits in.
pub const KNOW_PATIENCE: Duration = Duration::from_secs(2);
/// What effects did not tell (a reader that fell behind) is found by comparing everything.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// A place nobody claimed is given back after this: its gateway died, or the room was refused. A
/// client that was sent to a new home is there within seconds.
pub const UNCLAIMED_LASTS: Duration = Duration::from_secs(30);
/// Between two tries to tell the log that a room is over.
pub const CLOSE_RETRY: Duration = Duration::from_millis(500);

/// One frame of a session between nodes: above the largest signal message a client may send
/// (2 MiB unless configured) and the largest a room says.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The first frame of a session: the gateway has it ready when it opens the stream.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Client messages on their way into one stream: a gateway lets through 200 a second after a burst
/// of 1,000. More means that the home does not read.
pub const WORDS_WAITING_MAX: usize = 2_048;
/// The same as bytes: four of the largest messages a client may send.
pub const WORDS_WAITING_BYTES_MAX: usize = 8 << 20;
/// Time in which the death of a home is found and its gateways know: what a client said within it
/// may have been said to nobody, and is said again to the next home,
pub const REPEATED_WITHIN: Duration = Duration::from_secs(2);
/// this many messages at most: real clients say a few when something happens,
pub const REPEATED_MESSAGES_MAX: usize = 64;
/// of so many bytes together.
pub const REPEATED_BYTES_MAX: usize = 64 << 10;
/// Tracks one client has announced and not been answered about: thirty at once happen.
pub const UNANSWERED_TRACKS_MAX: usize = 64;
/// One such announcement; real ones have a few hundred bytes.
pub const UNANSWERED_TRACK_BYTES_MAX: usize = 8 << 10;
/// An offer that is kept until it is answered: one with a hundred sections stays below.
pub const UNANSWERED_OFFER_BYTES_MAX: usize = 512 << 10;
/// A gateway that stops sends its clients to others over this time: so many that come at once
/// would be refused there.
pub const SEND_AWAY_OVER: Duration = Duration::from_secs(3);
/// Steps in which it does.
pub const SEND_AWAY_STEPS: u32 = 30;
/// Messages on their way from a room into one stream, as the gateway keeps them for a client that
/// does not read: beyond either, the session ends.
pub const OUTLET_MESSAGES_MAX: usize = 4_096;
pub const OUTLET_BYTES_MAX: usize = 32 << 20;
/// Of the actor that fills the queue above and never waits: actix's own default. Rooms do not wait
/// for a mailbox.
pub const OUTLET_MAILBOX_MAX: usize = 16;
/// How long a gateway looks for a home that lets its client in: death of a node is found and its
/// rooms are moved within a second; clients give up after 10 s.
pub const ATTACH_PATIENCE: Duration = Duration::from_secs(6);
/// Between two such tries.
pub const ATTACH_RETRY: Duration = Duration::from_millis(50);

/// How long a call of the server API looks for a room that moves.
pub const API_PATIENCE: Duration = Duration::from_secs(5);
/// A room answers in milliseconds; a home that hangs is found dead and the call goes to the next.
pub const API_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A client's answer to `PerformRpc` is waited for by its room; this is longer than that ever is.
pub const API_RPC_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer that comes with the end of its room is waited for this long after the log has told it:
/// both take a round trip.
pub const API_LAST_WORD: Duration = Duration::from_millis(250);
/// A list waits this long for a node; the rooms of one that says nothing are missing.
pub const API_LIST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a question whether a node lives is awaited: far longer than the detector does, so that
/// a late answer still counts.
pub const LIVENESS_PATIENCE: Duration = Duration::from_secs(1);
/// What lifelines, answers and other nodes have to say and the detector has not taken yet. It takes
/// them at once; beyond this they are lost and counted, as packets are.
pub const LIVENESS_INPUTS_MAX: usize = 16_384;
/// A process whose rooms have not had a turn for this long is as good as dead, though its network
/// still answers; one that is merely busy is not.
pub const WEDGED: Duration = Duration::from_secs(5);
/// A verdict is worth something only while this node is sure: one that could not be written within
/// this is given again, or not.
pub const VERDICT_PATIENCE: Duration = Duration::from_millis(400);

/// Connections tried at once to see whether kernels answer; each may hang for `LIVENESS_PATIENCE`.
pub const KNOCKS_AT_ONCE_MAX: usize = 256;

/// Connections that have not shown a ticket yet. A further one ends the oldest: one that has a
/// ticket needs a round trip to show it.
pub const LIFELINE_STRANGERS_MAX: usize = 256;
/// Time a stranger has, and the other side of one.
pub const LIFELINE_PATIENCE: Duration = Duration::from_secs(2);
/// A ticket is used at once.
pub const LIFELINE_TICKET_AGE_MAX: Duration = Duration::from_secs(10);
/// Between tries to open a lifeline: at first, as a process that restarts is soon back, and later.
pub const LIFELINE_RETRY_MIN: Duration = Duration::from_millis(50);
pub const LIFELINE_RETRY_MAX: Duration = Duration::from_secs(1);
/// Nothing is said on a lifeline; a middlebox that forgets idle connections is reminded this often.
pub const LIFELINE_KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pause after an error of the listener, so that one that lasts does not spin.
pub const LIFELINE_ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a node says what it carries; placement believes it for five times as long.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Who takes longer to hear it hears the next one.
pub const HEARTBEAT_PATIENCE: Duration = Duration::from_millis(800);
/// A version of the program as text.
pub const VERSION_BYTES_MAX: usize = 64;

/// How often the leader looks whether the voters are the right ones.
pub const KEEPER_INTERVAL: Duration = Duration::from_secs(1);
/// A change of voters is two commits; a quorum that does not answer is asked again.
pub const KEEPER_PATIENCE: Duration = Duration::from_secs(5);
/// Raft's heartbeats come 20 times a second: who is silent for longer was away.
pub const ANSWER_GAP: Duration = Duration::from_secs(2);
/// Who was asked to lead and does not is passed over for this long: others may, and voters that are
/// to be replaced do not wait for it.
pub const HEIR_REFUSED_LASTS: Duration = Duration::from_secs(5);
/// A learner that is not registered after this is nobody's: entering takes seconds.
pub const STRANGER_LEARNER_AGE: Duration = Duration::from_secs(60);

/// From so many nodes on, a media node that has been dead for `DEAD_KEPT` makes room for others.
pub const NODES_CROWDED: usize = consensus::limits::NODES_MAX / 4 * 3;
/// As long as this leader has led; a machine that is repaired is back within it.
pub const DEAD_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How long the leader has to make a report before the node that was asked makes its own.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a node has to show that it lives; nodes of one site answer within milliseconds.
pub const REPORT_PROBE: Duration = Duration::from_millis(800);
/// How often a leader looks at what drains; rooms go at their own pace in between.
pub const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Who is in the rooms that have to go is asked this often: only their order depends on it.
pub const DRAIN_COUNT_INTERVAL: Duration = Duration::from_secs(2);
/// A question about drains, and the lease, take at most this long.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// A move that takes longer is reported as failed and tried again.
pub const DRAIN_MOVE_PATIENCE: Duration = Duration::from_secs(3);
/// Ends of moves on their way to the duty.
pub const DRAIN_RESULTS_MAX: usize = 64;
/// How often a drain is asked for again when others ask at the same time.
pub const DRAIN_TRIES_MAX: usize = 5;

/// A node says at once which workers it has, or takes a job.
pub const JOB_CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// A room's home is told about a job this often, and then it is gone.
pub const JOB_UPDATE_TRIES_MAX: usize = 5;
/// Between two such tries.
pub const JOB_UPDATE_RETRY: Duration = Duration::from_millis(500);
/// Jobs of rooms here, and as many lent to others: as the agent service's own bound.
pub const JOBS_ELSEWHERE_MAX: usize = 20_000;

/// A room whose home died with nobody standing by is closed when nobody came back for this long:
/// clients give up within a minute.
pub const ORPHAN_LASTS: Duration = Duration::from_secs(60);
/// Rooms the leader looks after in one round of its upkeep; each costs a commit.
pub const UPKEEP_ROOMS_MAX: usize = 1_000;
/// The cloud is asked what becomes of this machine: a preempted one has 30 s.
pub const NOTICES_INTERVAL: Duration = Duration::from_secs(5);
/// It is told that a drain goes on; its own patience is minutes.
pub const NOTICE_HOLD_INTERVAL: Duration = Duration::from_secs(60);
/// A drain ends this long before the machine, so that whoever is left is sent away by it.
pub const NOTICE_MARGIN: Duration = Duration::from_secs(10);
/// Figures come every second and are averaged as they come.
pub const SCALING_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How many nodes there should be is decided this often: machines take minutes to come.
pub const SCALING_DECIDE_INTERVAL: Duration = Duration::from_secs(10);
/// Older figures of a node count for nothing.
pub const SCALING_FIGURES_AGE_MAX: Duration = Duration::from_secs(10);

/// UDP payload of packets with relayed media: what IPv4 and IPv6 carry over Ethernet with a tunnel
/// (PPPoE, WireGuard) to spare. Frames of up to 1,312 bytes fit, and browsers send 1,200.
pub const RELAY_PACKET_BYTES: u16 = 1_350;
/// What the network may have under way unacknowledged at first: a few key frames.
pub const RELAY_WINDOW_BYTES: u64 = 512 << 10;
/// Datagrams in the network's own queue, which knows no urgency: some milliseconds of a busy node.
pub const RELAY_SEND_BYTES: usize = 64 << 10;
/// Datagrams that arrived and are not read yet; older ones go.
pub const RELAY_RECEIVE_BYTES: usize = 2 << 20;
/// Datagrams for one node that wait to be sent: some 10 ms of a full gigabit, and with the blocks
/// they lie in at most 32 MiB.
pub const RELAY_QUEUE_DATAGRAMS_MAX: usize = 1_024;
/// Datagrams that are read before they are handed on.
pub const RELAY_BATCH_DATAGRAMS: usize = 64;
/// A relayed packet that no datagram holds: `media` keeps none of more than 1,436 bytes.
pub const RELAY_LARGE_BYTES_MAX: usize = 2_048;
/// Such packets under way at a time; who sends more waits.
pub const RELAY_LARGE_MAX: u32 = 64;
/// Parts of rooms leave a node that drains one after the other, as rooms do.
pub const PART_LEAVES_INTERVAL: Duration = Duration::from_millis(200);
/// Between two tries to reach a node for relayed media; what waited is lost.
pub const RELAY_DIAL_RETRY: Duration = Duration::from_millis(100);
/// Nodes a process can number for links and parts of rooms: 2^16 names of parts, less its own.
pub const PLACE_SLOTS_MAX: usize = 2_000;
/// Commands on their way to one part of a room: some seconds of a busy one. A node that does not
/// take them is given up.
pub const TOLD_WAITING_MAX: usize = 16_384;
/// Facts on their way from one part of a room to its home, likewise.
pub const FACTS_WAITING_MAX: usize = 16_384;
/// Commands or facts that are written at once.
pub const TOLD_BATCH: usize = 64;
/// Parts of other nodes' rooms on one node: as many rooms as a node ever has.
pub const PARTS_MAX: usize = 100_000;
/// How often other media nodes are asked what they are, where rooms may span to them,
pub const NEIGHBOUR_INTERVAL: Duration = Duration::from_secs(1);
/// how long they have to answer,
pub const NEIGHBOUR_PATIENCE: Duration = Duration::from_millis(800);
/// and how long their answer is believed.
pub const NEIGHBOUR_AGE_MAX: Duration = Duration::from_secs(5);

/// Records of one batch of a journal; a larger room takes several, so that none holds up the others
/// of the link.
pub const JOURNAL_BATCH_BYTES: usize = 256 << 10;
/// What rooms have said and one standby has not been sent: some thousand large rooms at once. One
/// that goes beyond says everything again later.
pub const JOURNAL_WAITING_BYTES_MAX: usize = 64 << 20;
/// What one standby was sent and has not acknowledged: a round trip's worth on a fast link.
pub const JOURNAL_UNACKED_BYTES_MAX: usize = 4 << 20;
/// A room that was dropped, or refused, says everything again after this.
pub const JOURNAL_RESYNC_AFTER: Duration = Duration::from_secs(2);
/// Between two tries to reach a standby.
pub const JOURNAL_RETRY: Duration = Duration::from_millis(100);
/// Images one node keeps: 32,768 participants at 8 KiB, and headroom for what their rooms hold.
pub const JOURNAL_IMAGES_BYTES_MAX: usize = 512 << 20;
/// A standby that hears of its appointment before its own log tells it waits so long for that. Then
/// it refuses, and is told everything again later.
pub const JOURNAL_LOG_PATIENCE: Duration = Duration::from_millis(100);
/// How long the next home of a room waits for the last the former one says of it, after which
/// numbers go on without a gap. Until then the former one serves, or it is dead and says nothing.
/// On a network that loses much its log takes so long to tell it that the room moved.
pub const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);
/// Meanwhile it looks this often whether that has died.
pub const LAST_WORDS_LOOK: Duration = Duration::from_millis(20);
/// How long a room's journal may take to be complete at the node the room is about to go to. Then
/// it goes all the same, and its clients come back from scratch.
pub const JOURNAL_FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// A node that has to say whether it knows a room; it need not look further than its memory. In
/// doubt a standby is taken to know it (coming back in vain costs a client a round trip), and a
/// home not.
pub const JOURNAL_ASK_PATIENCE: Duration = Duration::from_millis(150);
/// Names of rooms whose state changed on this node and nobody has looked at yet; beyond, everything
/// is compared.
pub const HOSTING_NEWS_MAX: usize = 1_024;
/// Rooms that lost their standby are given others together: one death touches many at once.
pub const STANDBY_PAUSE: Duration = Duration::from_millis(50);

/// Transports of one room that this node stands by for: two for each of the participants of the
/// largest room.
pub(super) const STAND_INS_ROOM_MAX: usize = 20_000;
/// Transports of all rooms that this node stands by for, and what their images and deltas come to:
/// 32,768 participants with two each, at 8 KiB. What goes beyond is refused, and resumes.
pub(super) const STAND_INS_MAX: usize = 65_536;
pub(super) const STAND_INS_BYTES_MAX: usize = 512 << 20;
/// Addresses of one standby a client is told of: it sends checks to each.
pub(super) const STANDBY_ADDRESSES_MAX: usize = 8;
/// Complaints of rooms about silent standbys that wait to be acted upon; others are repeated.
pub(super) const COMPLAINTS_MAX: usize = 1_024;
/// How long it is known who went on here unnoticed: gateways ask within a second or two.
pub(super) const STAND_INS_REMEMBERED: Duration = Duration::from_secs(60);
/// What a standby has to say to one home, in messages: acknowledgements repeat themselves.
pub(super) const STANDBY_WORDS_MAX: usize = 16_384;
